//! Measures the steps of a call, each by itself: `cargo bench --bench micro [FILTER]`. Criterion compares them with the run
//! before, and keeps what it measured in `criterion` under cargo's target directory.

#[path = "../support/mod.rs"]
mod support;

mod fixture;

use std::cell::LazyCell;
use std::hint::black_box;

use criterion::Criterion;
use lanyard::authority::decision::CheckAnswer;
use lanyard::authority::decision::CheckRequest;
use lanyard::authority::decision::Decision;
use lanyard::authority::decision::PresentedEvidence;
use lanyard::authority::decision::ValidateRequest;
use lanyard::authority::evidence::Evidence;
use lanyard::authority::registration::ClientId;
use lanyard::authority::resources::Destination;
use lanyard::authority::resources::RequestPath;
use lanyard::authority::state::Admitted;
use lanyard::authority::state::Asker;
use lanyard::authority::tokens;
use lanyard::grpc::ext_authz;
use lanyard::grpc::short_answer::ShortAnswer;
use lanyard::grpc::short_road::ShortAnswering;
use lanyard::grpc::short_road::ShortCall;
use lanyard::proto::validate_binding_request;
use sha2::Digest as _;
use sha2::Sha256;

use crate::fixture::Fixture;
use crate::fixture::WORKLOAD;
use crate::fixture::at_once;
use crate::fixture::many_patterns;
use crate::support::Failure;
use crate::support::frames::length_prefixed;
use crate::support::requests;
use crate::support::requests::AUDIENCE;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Failure> {
    let fixture = Fixture::new()?;
    let mut criterion = Criterion::default().configure_from_args();
    messages(&mut criterion, &fixture)?;
    decisions(&mut criterion, &fixture)?;
    patterns(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

/// What is read and written, and a whole call between.
fn messages(criterion: &mut Criterion, fixture: &Fixture) -> Result<(), Failure> {
    let Fixture { authority, proxy, token, certificate, .. } = fixture;
    let proxy = &Asker::from(proxy.clone());
    let check = length_prefixed(&requests::check(token, certificate, false));
    let thumbprint = validate_binding_request::Evidence::CertificateThumbprint(Sha256::digest(certificate).to_vec());
    let validate = length_prefixed(&requests::validate(token, &thumbprint));
    let checked = authority.check(proxy, &asked(fixture)).map_err(|refused| refused.error)?;
    if !matches!(checked, CheckAnswer::Allow(_)) {
        return Err("the check is denied".into());
    }
    for (name, call, body) in
        [("check", ShortCall::Check, &check), ("validation", ShortCall::ValidateBinding, &validate)]
    {
        criterion.bench_function(&format!("decode a {name}"), |bencher| bencher.iter(|| call.read(black_box(body))));
        criterion.bench_function(&format!("answer a {name}"), |bencher| {
            bencher.iter(|| answered(fixture, call, black_box(body)));
        });
    }
    criterion.bench_function("encode the answer to a check", |bencher| {
        bencher.iter(|| ext_authz::answer(black_box(&checked)));
    });
    Ok(())
}

/// What is between.
fn decisions(criterion: &mut Criterion, fixture: &Fixture) -> Result<(), Failure> {
    let Fixture { authority, proxy, resource, token, claims, certificate, .. } = fixture;
    let proxy = &Asker::from(proxy.clone());
    let keys = authority.keys();
    criterion.bench_function("verify a token", |bencher| bencher.iter(|| tokens::verify(&keys, black_box(token))));
    criterion.bench_function("sign a token", |bencher| {
        bencher.iter(|| at_once(tokens::sign(&keys, black_box(claims))));
    });
    criterion.bench_function("decide a check", |bencher| {
        bencher.iter(|| authority.check(proxy, black_box(&asked(fixture))));
    });
    let evidence = Evidence::from_thumbprint(&Sha256::digest(certificate))?;
    let validation = || ValidateRequest {
        access_token: token,
        evidence: PresentedEvidence::Of(Some(evidence.clone())),
        audience: Some(AUDIENCE),
        scope: "",
        receipt: false,
    };
    let judged = authority.validate_binding(proxy, validation()).map_err(|refused| refused.error)?;
    if !matches!(judged.decision, Decision::Allow(_)) {
        return Err("the validation is denied".into());
    }
    criterion.bench_function("decide a validation", |bencher| {
        bencher.iter(|| authority.validate_binding(proxy, black_box(validation())));
    });
    criterion.bench_function("match the last of 201 routes", |bencher| {
        bencher.iter(|| {
            let path = RequestPath::parse(black_box("/team-199/orders/1"));
            path.is_ok_and(|path| resource.routes.find("GET", &path).is_some())
        });
    });
    Ok(())
}

/// How a workload's registration is found among many patterns.
fn patterns(criterion: &mut Criterion) -> Result<(), Failure> {
    for count in [1, 1_000, 100_000, 1_000_000] {
        let directory = LazyCell::new(|| many_patterns(count));
        let [matched, other] =
            [count - 1, count].map(|number| ClientId::parse(&format!("{}/run-1", fixture::below(number))));
        let (matched, other) = (matched.ok_or("no client_id")?, other.ok_or("no client_id")?);
        for (name, id) in [("the one", &matched), ("none", &other)] {
            criterion.bench_function(&format!("find {name} of {count} patterns"), |bencher| {
                let directory = directory.as_ref().map_err(ToString::to_string);
                bencher.iter(|| directory.as_ref().map(|directory| directory.status(black_box(id))));
            });
        }
    }
    Ok(())
}

/// A check of a use of the workload's token with its certificate.
fn asked(fixture: &Fixture) -> CheckRequest<'_> {
    CheckRequest {
        destination: Destination { named: Some(AUDIENCE), principal: "", authority: "orders.dev.internal" },
        method: "GET",
        path: "/orders/1",
        headers: vec![
            ("authorization", fixture.bearer.as_bytes()),
            ("x-forwarded-client-cert", fixture.forwarded.as_bytes()),
        ],
        certificate: "",
        // Without it the header is no evidence.
        principal: WORKLOAD,
        address: "",
    }
}

/// A call of the proxy, from its message to that of the answer.
fn answered(fixture: &Fixture, call: ShortCall, body: &[u8]) -> Option<ShortAnswer> {
    match call.read(body)?.answer(&fixture.authority, Admitted::Caller(fixture.proxy.clone()), body) {
        ShortAnswering::Ready(answered) => answered.ok(),
        ShortAnswering::Waiting(_) => None,
    }
}
