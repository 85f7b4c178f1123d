//! The hook Job: it registers all or nothing, fails at once where no further attempt can succeed, and runs after whatever
//! changes the release.

use serde_json::Value;
use serde_json::json;

use crate::helm::hooks::container;
use crate::helm::hooks::job;
use crate::helm::hooks::registered;
use crate::support::helm;
use crate::support::helm::Rendered;
use crate::support::helm::list;
use crate::support::helm_pod::Site;
use crate::support::helm_server::Server;
use crate::support::process::run;

/// What an API server accepts in a `ConfigMap`, in bytes.
const MAX_CONFIG_MAP: usize = 1024 * 1024;

const CLIENTS: (&str, &str) = ("client", "client_id");
const RESOURCES: (&str, &str) = ("resource", "audience");
const GRANTS: (&str, &str) = ("grant", "name");

/// The spec of the Job.
fn job_of(rendered: &Rendered) -> &Value {
    &rendered.all("Job").next().unwrap()["spec"]
}

/// Whether the Job ends at once when its container ends with this code.
fn fails_the_job(job: &Value, container: &str, code: i32) -> bool {
    let rules = list(&job["podFailurePolicy"]["rules"]).iter().filter(|rule| rule["action"] == "FailJob");
    let on =
        rules.map(|rule| &rule["onExitCodes"]).filter(|on| on["operator"] == "In" && on["containerName"] == container);
    on.flat_map(|on| list(&on["values"])).any(|value| value == code)
}

#[test]
fn a_refused_document_of_any_kind_leaves_nothing_registered_and_ends_the_job() {
    for wrong in [
        "registrations.resources.orders.mode=loose",
        "registrations.resources.orders.routes[0].path=/orders//{id}",
        "registrations.clients.checkout.access_token_ttl=2h",
        "registrations.grants.billing.spiffe_ids[0]=spiffe://prod.example/*/billing",
    ] {
        let flags = ["--set", wrong, "--skip-schema-validation"];
        let Some(site) = Site::of(&helm::example("registrations"), &flags) else { return };
        let _server = Server::start(&site);
        let pod = site.registrations().unwrap();
        let refused = run(&mut pod.command(container(&pod)));
        assert!(refused.stderr.starts_with("error: nothing was written: "), "{wrong}: {refused:?}");
        let code = refused.code.unwrap();
        assert!(fails_the_job(job_of(&site.rendered), "registrations", code), "{wrong}: {refused:?}");
        for (kind, key) in [CLIENTS, RESOURCES, GRANTS] {
            assert!(registered(&pod, kind, key).is_empty(), "{wrong}: {kind}");
        }
    }
}

#[test]
fn documents_that_contradict_each_other_are_undone_and_what_was_there_is_as_before() {
    let example = helm::example("registrations");
    let Some(before) = Site::of(&example, &[]) else { return };
    let server = Server::start(&before);
    let pod = before.registrations().unwrap();
    job(&pod);
    let clients = registered(&pod, CLIENTS.0, CLIENTS.1);
    let owner = |pod| {
        let listed = crate::helm::hooks::as_admin(pod, &["client", "list", "-o", "json"]).json(0);
        list(&listed).iter().map(|client| client["owner"].clone()).collect::<Vec<_>>()
    };
    let owners = owner(&pod);

    // Each of the two is valid while the other is not registered: a dry run accepts both.
    let document = |name: &str| {
        let id = "spiffe://prod.example/both";
        let document = json!({"client_id": name, "token_endpoint_auth_method": "spiffe_x509", "spiffe_id": id, "audience": ["urn:a"]});
        format!("registrations.clients.{name}={document}")
    };
    let (first, second) = (document("a-first"), document("z-second"));
    let changed = ["--set", "registrations.clients.checkout.owner=another"];
    let flags = [&["--set-json", &first, "--set-json", &second][..], &changed].concat();
    let after = Rendered::of(&example, &flags).unwrap();
    let map = after.named("ConfigMap", "lanyard-registrations").unwrap();
    let file = pod.path("/etc/lanyard/registrations/clients.yaml");
    std::fs::write(file, map["data"]["clients.yaml"].as_str().unwrap()).unwrap();
    let refused = run(&mut pod.command(container(&pod)));
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.starts_with("error: what was written is undone: "), "{refused:?}");
    assert!(refused.stderr.contains("IDENTITY_TAKEN"), "{refused:?}");
    assert_eq!(registered(&pod, CLIENTS.0, CLIENTS.1), clients);
    assert_eq!(owner(&pod), owners);
    drop(server);
}

#[test]
fn the_job_goes_on_where_a_later_attempt_can_succeed() {
    let Some(site) = Site::of(&helm::example("registrations"), &[]) else { return };
    let pod = site.registrations().unwrap();
    let job = job_of(&site.rendered);
    // Nothing listens yet.
    let unreachable = run(&mut pod.command(container(&pod)));
    assert_eq!(unreachable.code, Some(1), "{unreachable:?}");
    assert!(!fails_the_job(job, "registrations", 1));
    assert!(job["backoffLimit"].as_u64().unwrap() > 5);
    assert_eq!(job["template"]["spec"]["restartPolicy"], "Never", "podFailurePolicy wants it");
    // An evicted pod is no attempt; the rules are tried in their order.
    let first = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    assert_eq!(job["podFailurePolicy"]["rules"][0], first);
}

#[test]
fn the_job_runs_after_install_upgrade_and_rollback_and_helm_prints_why_it_failed() {
    for rendered in helm::all_rendered().into_iter().flatten() {
        for job in rendered.all("Job") {
            let annotations = &job["metadata"]["annotations"];
            let hooks: Vec<&str> = annotations["helm.sh/hook"].as_str().unwrap().split(',').collect();
            assert_eq!(hooks, ["post-install", "post-upgrade", "post-rollback"], "{}", rendered.name);
            assert_eq!(annotations["helm.sh/hook-output-log-policy"], "hook-failed", "{}", rendered.name);
        }
    }
}

#[test]
fn registrations_beyond_a_mebibyte_are_spread_over_config_maps_and_all_are_registered() {
    // 30 resources of 40 kB each.
    let long = "a".repeat(300);
    let resources = (0..30).map(|number| {
        let routes = (0..128).map(|route| json!({"path": format!("/{long}/{route}"), "scope": "a"}));
        let routes: Vec<Value> = routes.collect();
        let document = json!({"audience": format!("urn:many:{number}"), "scope": "a", "routes": routes});
        (format!("r{number}"), document)
    });
    let resources: serde_json::Map<String, Value> = resources.collect();
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("many.json");
    std::fs::write(&values, json!({"registrations": {"resources": resources}}).to_string()).unwrap();
    let example = helm::example("registrations");
    let Some(site) = Site::of(&example, &["--values", values.to_str().unwrap()]) else { return };

    let maps: Vec<&Value> = site
        .rendered
        .all("ConfigMap")
        .filter(|map| map["metadata"]["name"].as_str().unwrap().contains("-registrations"))
        .collect();
    let sizes =
        maps.iter().map(|map| map["data"].as_object().unwrap().values().map(|text| text.as_str().unwrap().len()).sum());
    let sizes: Vec<usize> = sizes.collect();
    assert!(sizes.iter().sum::<usize>() > MAX_CONFIG_MAP, "{sizes:?}");
    assert!(maps.len() > 2 && sizes.iter().all(|size| *size < MAX_CONFIG_MAP * 3 / 4), "{sizes:?}");
    let names = |objects: &[&Value]| objects.iter().map(|map| map["metadata"]["name"].to_string()).collect::<Vec<_>>();
    let volumes = list(&job_of(&site.rendered)["template"]["spec"]["volumes"]);
    let mounted: Vec<String> = volumes
        .iter()
        .filter(|volume| volume["name"] == "registrations")
        .flat_map(|volume| list(&volume["projected"]["sources"]))
        .map(|source| source["configMap"]["name"].to_string())
        .collect();
    assert_eq!(mounted, names(&maps));

    let _server = Server::start(&site);
    let pod = site.registrations().unwrap();
    let applied = job(&pod);
    assert!(applied.iter().all(|line| line.ends_with(" created")));
    let there = registered(&pod, RESOURCES.0, RESOURCES.1);
    assert!((0..30).all(|number| there.contains(&format!("urn:many:{number}"))));
    assert!(!registered(&pod, CLIENTS.0, CLIENTS.1).is_empty());
}

#[test]
fn the_first_registrations_of_an_upgrade_replace_the_pod_so_that_the_job_is_an_admin_at_once() {
    let checksum = |example: &str, flags: &[&str]| {
        let rendered = Rendered::of(&helm::example(example), flags)?;
        Some(rendered.server()["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone())
    };
    let client = "registrations.clients.a={\"client_id\": \"a\", \"token_endpoint_auth_method\": \"spiffe_x509\"}";
    let admin = ["--set", "registrations.admin.secret=admin"];
    let Some(before) = checksum("minimal", &[]) else { return };
    let first = checksum("minimal", &[&admin[..], &["--set-json", client]].concat()).unwrap();
    assert_ne!(first, before);
    // The Job's identity is part of it, as any other role is not, and what is registered is not.
    let more = ["--set-json", &client.replace("clients.a", "clients.b").replace("\"a\"", "\"b\"")];
    assert_eq!(checksum("minimal", &[&admin[..], &["--set-json", client], &more].concat()).unwrap(), first);
    let proxy = ["--set", "roles.admins[0].spiffe_id=spiffe://prod.example/more"];
    assert_eq!(checksum("minimal", &[&admin[..], &["--set-json", client], &proxy].concat()).unwrap(), first);
    let other = ["--set", "registrations.admin.spiffeId=spiffe://prod.example/other"];
    assert_ne!(checksum("minimal", &[&admin[..], &["--set-json", client], &other].concat()).unwrap(), first);
}

#[test]
fn the_job_lets_report_replace_enforce_only_where_the_values_say_so() {
    let example = helm::example("registrations");
    let in_mode = |mode: &str| format!("registrations.resources.orders.mode={mode}");
    let Some(site) = Site::of(&example, &["--set", &in_mode("enforce")]) else { return };
    let _server = Server::start(&site);
    let pod = site.registrations().unwrap();
    job(&pod);
    let report = Rendered::of(&example, &["--set", &in_mode("report")]).unwrap();
    let map = report.named("ConfigMap", "lanyard-registrations").unwrap();
    let file = pod.path("/etc/lanyard/registrations/resources.yaml");
    std::fs::write(file, map["data"]["resources.yaml"].as_str().unwrap()).unwrap();
    let refused = run(&mut pod.command(container(&pod)));
    assert!(refused.stderr.contains("REPORT_OVER_ENFORCE"), "{refused:?}");
    assert!(fails_the_job(job_of(&site.rendered), "registrations", refused.code.unwrap()), "{refused:?}");

    let flags = ["--set", &in_mode("report"), "--set", "registrations.allowReport=true"];
    let allowed = Rendered::of(&example, &flags).unwrap();
    let allowed = &list(&job_of(&allowed)["template"]["spec"]["containers"])[0];
    assert_eq!(list(&allowed["args"]).iter().filter(|flag| **flag == "--allow-report").count(), 1, "{allowed}");
    run(&mut pod.command(allowed)).ok();
    let listed = crate::helm::hooks::as_admin(&pod, &["resource", "list", "-o", "json"]).json(0);
    assert_eq!(list(&listed)[0]["mode"], "report");
}
