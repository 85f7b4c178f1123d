//! Protected resources by their places, and which of them a check is about.

use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::ResourceMetadata;
use lanyard::authority::resources::RouteMetadata;

use crate::support::as_of_now::AsOfNow as _;
use crate::support::authority::ADMIN;
use crate::support::authority::PROXY;
use crate::support::authority::TestAuthority;
use crate::support::authority::ready;

/// A resource at these places. Each of its requests needs a token, so that a denial names it.
pub fn at(audience: &str, principals: &[&str], authorities: &[&str]) -> ResourceMetadata {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    ResourceMetadata {
        audience: audience.to_owned(),
        routes: vec![RouteMetadata { path: "/**".to_owned(), ..RouteMetadata::default() }],
        destination_principals: texts(principals),
        authorities: texts(authorities),
        ..ResourceMetadata::default()
    }
}

impl TestAuthority {
    pub fn protect(&self, metadata: ResourceMetadata) {
        ready(self.authority.create_resource(&self.svid(ADMIN), metadata, false)).unwrap();
    }

    /// The resource that a check is about; `None` where it is denied without one.
    pub fn found(&self, principal: &str, authority: &str) -> Option<String> {
        let request = CheckRequest {
            destination: Destination { named: None, principal, authority },
            method: "GET",
            path: "/",
            headers: Vec::new(),
            certificate: "",
            principal: "",
            address: "",
        };
        let caller = self.authority.as_caller(&self.svid(PROXY));
        let CheckAnswer::Deny(denial) = self.authority.check(&caller.clone().into(), &request).unwrap() else {
            panic!("allowed")
        };
        let code = denial.refusal.code();
        assert_eq!(code, if denial.audience.is_some() { "TOKEN_MISSING" } else { "RESOURCE_UNKNOWN" });
        denial.audience
    }
}
