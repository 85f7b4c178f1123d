//! The chart as real Helm renders it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools;
use crate::support::yaml;

/// The name of the release.
pub const RELEASE: &str = "lanyard";

/// The example values files, by name.
pub fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(in_crate("helm/examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    found.sort_unstable();
    found
}

/// One of the examples.
pub fn example(name: &str) -> PathBuf {
    in_crate("helm/examples").join(name).with_extension("yaml")
}

/// The namespace in an example's own command, if it has one.
fn namespace(values: &Path) -> String {
    let text = fs::read_to_string(values).unwrap();
    let command = text.lines().find(|line| line.starts_with("#   helm ") && line.contains(" helm/lanyard "));
    let named = command.and_then(|command| command.split(" --namespace ").nth(1)?.split(' ').next());
    named.unwrap_or("identity").to_owned()
}

/// `helm COMMAND … CHART` with these values and flags, which override them; `None` if helm is to be skipped.
fn helm(command: &[&str], values: &Path, flags: &[&str]) -> Option<Command> {
    let mut helm = Command::new(tools::helm()?);
    helm.args(command).arg(in_crate("helm/lanyard")).args(["--namespace", &namespace(values), "--values"]).arg(values);
    // Independent of the settings of the user who runs the tests, above all of their cluster.
    helm.args(flags).env("KUBECONFIG", "/dev/null").env("HELM_PLUGINS", "/nowhere");
    Some(helm)
}

/// `helm lint --strict`.
pub fn lint(values: &Path) -> Option<Finished> {
    Some(run(&mut helm(&["lint", "--strict"], values, &[])?))
}

/// `helm template`, including hooks and tests.
pub fn template(values: &Path, flags: &[&str]) -> Option<Finished> {
    Some(run(&mut helm(&["template", RELEASE], values, flags)?))
}

/// All objects of a release.
pub struct Rendered {
    /// The values file, and the namespace.
    pub name: String,
    pub namespace: String,
    /// The rendered text.
    pub text: String,
    pub objects: Vec<Value>,
}

impl Rendered {
    /// Renders these values; `None` if helm is to be skipped.
    pub fn of(values: &Path, flags: &[&str]) -> Option<Self> {
        let name = values.file_stem().unwrap().to_str().unwrap().to_owned();
        let finished = template(values, flags)?;
        assert_eq!(finished.code, Some(0), "{name}: {finished:?}");
        let text = finished.stdout;
        let objects = yaml::documents(&text);
        Some(Self { name, namespace: namespace(values), text, objects })
    }

    /// All objects of this kind.
    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The object of this kind and name, if there is one.
    pub fn named(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// The workload that runs the server.
    pub fn server(&self) -> &Value {
        let found: Vec<&Value> = self.all("StatefulSet").chain(self.all("Deployment")).collect();
        let [server] = found.as_slice() else { panic!("{}: {} servers", self.name, found.len()) };
        server
    }

    /// All pods with the kind of their owner: the server's, those of hooks, and those of `helm test`.
    pub fn pods(&self) -> Vec<(String, &Value)> {
        let pod = |object: &'_ Value| match object["kind"].as_str().unwrap() {
            "Pod" => Some(""),
            "StatefulSet" | "Deployment" | "DaemonSet" | "ReplicaSet" | "Job" => Some("/spec/template"),
            "CronJob" => Some("/spec/jobTemplate/spec/template"),
            _ => None,
        };
        let pods = self.objects.iter().filter_map(|object| Some((object, object.pointer(pod(object)?)?)));
        pods.map(|(object, pod)| (format!("{}, {}", self.name, object["kind"]), pod)).collect()
    }
}

/// Renders every example; `None` if helm is to be skipped.
pub fn all_rendered() -> Option<Vec<Rendered>> {
    examples().iter().map(|path| Rendered::of(path, &[])).collect()
}

/// A list, empty where there is none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
