//! `SoftHSM` as the token that holds signing keys, in a folder of its own, and a module around it that shows faults which
//! `SoftHSM` does not have: a token that is pulled out, that hangs, or that signs wrongly.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::process::run;
use crate::support::process::text;
use crate::support::server::SEAL;
use crate::support::server::in_crate;
use crate::support::tools;

/// The PIN of the token's normal user. It is in no log.
pub const PIN: &str = "pin-80718";

/// A token, and what finds it.
pub struct SoftHsm {
    dir: TempDir,
    tools: PathBuf,
}

impl SoftHsm {
    /// A token with the label `lanyard`; `None` if `SoftHSM` is to be skipped.
    pub fn new() -> Option<Self> {
        let hsm = Self { tools: tools::softhsm()?, dir: TempDir::new().unwrap() };
        fs::create_dir(hsm.path("tokens")).unwrap();
        fs::create_dir(hsm.path("faults")).unwrap();
        hsm.configure("");
        hsm.add_token("lanyard");
        let mut build = Command::new("cc");
        build.args(["-shared", "-fPIC", "-o"]).arg(hsm.shim()).arg(in_crate("tests/it/support/pkcs11_shim.c"));
        run(build.arg("-ldl")).ok();
        Some(hsm)
    }

    /// Writes `SoftHSM`'s configuration, with more lines.
    pub fn configure(&self, lines: &str) {
        let tokens = self.path("tokens").display().to_string();
        let written = format!(
            "directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n{lines}\n"
        );
        fs::write(self.path("softhsm2.conf"), written).unwrap();
    }

    /// Makes another token.
    pub fn add_token(&self, label: &str) {
        let made = ["--init-token", "--free", "--label", label, "--so-pin", "so-pin-80719", "--pin", PIN];
        self.util(&made);
    }

    fn util(&self, arguments: &[&str]) {
        let mut util = Command::new(self.tools.join("softhsm2-util"));
        util.args(["--module", text(&self.module())]).args(arguments);
        run(util.env("SOFTHSM2_CONF", self.path("softhsm2.conf"))).ok();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `SoftHSM` itself.
    pub fn module(&self) -> PathBuf {
        self.tools.join("libsofthsm2.so")
    }

    /// The module around it.
    pub fn shim(&self) -> PathBuf {
        self.path("shim.so")
    }

    /// What a process needs in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pair = |name: &str, path: &Path| (name.to_owned(), text(path).to_owned());
        vec![
            pair("SOFTHSM2_CONF", &self.path("softhsm2.conf")),
            pair("SOFTHSM", &self.module()),
            pair("FAULTS", &self.path("faults")),
        ]
    }

    /// The section `keys` with this module, and more members of `keys.pkcs11`.
    pub fn keys(module: &Path, more: &str) -> String {
        format!(
            "{{key_encryption_key: {SEAL}, verifier_cache_time: 1s, pkcs11: {{module: '{}', token_label: lanyard, \
             pin: {PIN}, {more}}}}}",
            module.display()
        )
    }

    /// The folder with the token and `SoftHSM`'s configuration.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Takes the token away, or brings it back.
    pub fn take_away(&self) {
        fs::rename(self.path("tokens"), self.path("elsewhere")).unwrap();
    }

    pub fn bring_back(&self) {
        fs::rename(self.path("elsewhere"), self.path("tokens")).unwrap();
    }

    /// Lets the module around `SoftHSM` show a fault, or no longer.
    pub fn fault(&self, name: &str) {
        fs::write(self.path("faults").join(name), "").unwrap();
    }

    pub fn no_fault(&self, name: &str) {
        fs::remove_file(self.path("faults").join(name)).unwrap();
    }

    /// How often somebody logged in, or tried to, through the module around it.
    pub fn logins(&self) -> u64 {
        self.calls("logins")
    }

    /// How many key pairs were asked for through the module around it.
    pub fn pairs(&self) -> u64 {
        self.calls("pairs")
    }

    fn calls(&self, name: &str) -> u64 {
        fs::metadata(self.path("faults").join(name)).map_or(0, |file| file.len())
    }

    /// Puts a private key, PKCS#8 in PEM, into the token, under this identifier in hexadecimal digits.
    pub fn import(&self, key: &Path, id: &str) {
        self.util(&["--import", text(key), "--token", "lanyard", "--label", "other", "--id", id, "--pin", PIN]);
    }

    /// Deletes all keys in the tokens.
    pub fn delete_objects(&self) {
        for path in self.object_files() {
            fs::remove_file(path).unwrap();
        }
    }

    /// What `softhsm2-dump-file` prints of each object in the tokens.
    pub fn objects(&self) -> Vec<String> {
        let dump = self.tools.join("softhsm2-dump-file");
        // It says that it failed, at an empty set of mechanisms in the end.
        self.object_files().into_iter().map(|path| run(Command::new(&dump).arg(path)).stdout).collect()
    }

    fn object_files(&self) -> Vec<PathBuf> {
        let tokens = fs::read_dir(self.path("tokens")).unwrap().map(|token| token.unwrap().path());
        let files = tokens.flat_map(|token| fs::read_dir(token).unwrap().map(|file| file.unwrap().path()));
        let is_key = |path: &PathBuf| {
            path.extension().is_some_and(|extension| extension == "object") && !path.ends_with("token.object")
        };
        files.filter(is_key).collect()
    }
}
