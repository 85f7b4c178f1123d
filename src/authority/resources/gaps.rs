//! Requests that a wider route lets through for less than a narrower one demands.

use crate::authority::resources::route::Need;
use crate::authority::resources::route::Route;
use crate::authority::resources::route::Routes;

/// A route for some methods, beside a wider one for all methods that demands less of the others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gap {
    /// The template of the narrower route.
    pub narrower: String,
    /// The methods that have routes there.
    pub methods: Vec<String>,
    /// The template of the route that applies to all other methods.
    pub wider: String,
    /// What the wider route demands: its scopes, or `None` where it needs no token.
    pub demands: Option<String>,
}

/// The gaps between routes, one for each template.
pub fn gaps(routes: &Routes) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    for narrower in routes.iter() {
        let beside: Vec<&Route> = routes.iter().filter(|route| route.path == narrower.path).collect();
        if beside.iter().any(|route| route.methods.is_empty())
            || gaps.iter().any(|gap| gap.narrower == narrower.template)
        {
            continue;
        }
        let wider = routes
            .iter()
            .find(|route| route.methods.is_empty() && route.path != narrower.path && route.path.covers(&narrower.path));
        if let Some(wider) = wider
            && beside.iter().any(|route| demands_less(&wider.need, &route.need))
        {
            gaps.push(Gap {
                narrower: narrower.template.clone(),
                methods: beside.iter().flat_map(|route| route.methods.iter().cloned()).collect(),
                wider: wider.template.clone(),
                demands: match &wider.need {
                    Need::Nothing => None,
                    Need::Token(scope) => Some(scope.to_string()),
                },
            });
        }
    }
    gaps
}

fn demands_less(wider: &Need, narrower: &Need) -> bool {
    match (wider, narrower) {
        (_, Need::Nothing) => false,
        (Need::Nothing, Need::Token(_)) => true,
        (Need::Token(wider), Need::Token(narrower)) => !wider.covers(narrower),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::resources::metadata::ResourceMetadata;
    use crate::authority::resources::metadata::RouteMetadata;
    use crate::authority::resources::resource::ProtectedResource;

    /// The gaps between routes of methods, a template and scopes; without a scope the route is public.
    fn found(routes: &[(&[&str], &str, Option<&str>)]) -> Vec<String> {
        let route = |(methods, path, scope): &(&[&str], &str, Option<&str>)| RouteMetadata {
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            path: (*path).to_owned(),
            scope: scope.unwrap_or_default().to_owned(),
            public: scope.is_none(),
            ..RouteMetadata::default()
        };
        let metadata = ResourceMetadata {
            audience: "urn:a".to_owned(),
            scope: "read write admin".to_owned(),
            routes: routes.iter().map(route).collect(),
            ..ResourceMetadata::default()
        };
        let resource = ProtectedResource::parse(metadata).unwrap();
        let show = |gap: &Gap| format!("{} {} {:?}", gap.narrower, gap.wider, gap.demands.as_deref());
        gaps(&resource.routes).iter().map(show).collect()
    }

    #[test]
    fn other_methods_of_a_narrower_route_fall_to_a_wider_one_that_demands_less() {
        let get: &[&str] = &["GET"];
        assert_eq!(
            found(&[(get, "/admin/{id}", Some("admin")), (&[], "/**", Some("read"))]),
            ["/admin/{id} /** Some(\"read\")"]
        );
        assert_eq!(found(&[(get, "/a", Some("read")), (&[], "/**", None)]), ["/a /** None"]);
        assert_eq!(found(&[(get, "/a", Some("")), (&[], "/{any}", None)]), ["/a /{any} None"]);
        assert_eq!(found(&[(get, "/a/b", Some("read")), (&[], "/a/b/**", None)]), ["/a/b /a/b/** None"]);
        // One for all methods closes it, here or between the two.
        for closed in [
            found(&[(&[], "/admin/{id}", Some("admin")), (&[], "/**", Some("read"))]),
            found(&[(get, "/a", Some("admin")), (&[], "/a", Some("write")), (&[], "/**", Some("read"))]),
            found(&[(get, "/a/b", Some("read")), (&[], "/a/**", Some("read write")), (&[], "/**", None)]),
            found(&[(get, "/a", None), (&[], "/**", None)]),
            found(&[(get, "/a", Some("admin")), (get, "/**", Some("read"))]),
            found(&[(get, "/a/b", Some("admin")), (&[], "/a/b/c/**", None), (&[], "/{one}", None)]),
        ] {
            assert_eq!(closed, Vec::<String>::new());
        }
    }
}
