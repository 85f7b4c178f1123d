//! The file with the contexts: `$LANYARD_CONTEXTS`, or `lanyard/contexts.yaml` in `$XDG_CONFIG_HOME` or `~/.config`.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::cli::error::CommandError;
use crate::cli::whole_file::WholeFile;
use crate::client::connection::server_url;
use crate::yaml;

/// The variable that names the file.
const CONTEXTS: &str = "LANYARD_CONTEXTS";

/// What the flags of a connection would say. Paths in it are relative to the file. It never holds a key or a token.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli::context) struct Context {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::context) server: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::context) ca: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::context) cert: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::context) key: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli::context) struct Content {
    /// The name of the one that commands use where nothing else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::context) current: Option<String>,
    #[serde(default)]
    pub(in crate::cli::context) contexts: BTreeMap<String, Context>,
}

/// The file, and what is in it.
#[derive(Debug)]
pub(in crate::cli::context) struct ContextsFile {
    /// `None` where no variable says where it would be.
    path: Option<PathBuf>,
    pub(in crate::cli::context) content: Content,
}

impl ContextsFile {
    /// Reads the file. One that is not there holds no contexts.
    pub(in crate::cli::context) fn load() -> Result<Self, CommandError> {
        let Some(path) = location(|name| env::var_os(name)) else {
            return Ok(Self { path: None, content: Content::default() });
        };
        let content = match fs::read_to_string(&path) {
            Ok(text) => parse(&text).map_err(|problem| {
                let next = "correct the file, or name another one in LANYARD_CONTEXTS";
                CommandError::new(format!("{}: {problem}", path.display()), next)
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Content::default(),
            Err(error) => {
                let next = "see whether you may read it, or name another file in LANYARD_CONTEXTS";
                return Err(CommandError::new(format!("{}: {error}", path.display()), next));
            }
        };
        Ok(Self { path: Some(path), content })
    }

    /// The context of this name.
    pub(in crate::cli::context) fn named(&self, name: &str) -> Result<Context, CommandError> {
        self.content.contexts.get(name).cloned().ok_or_else(|| {
            let place = self.path.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default();
            let next = "`lanyard context list` shows those that there are, and `lanyard context set` makes one";
            CommandError::new(format!("there is no context '{name}'{place}"), next)
        })
    }

    /// The one in use, with its name.
    pub(in crate::cli::context) fn current(&self) -> Result<Option<(String, Context)>, CommandError> {
        let Some(name) = &self.content.current else { return Ok(None) };
        Ok(Some((name.clone(), self.named(name)?)))
    }

    /// The path that a context names, seen from the file.
    pub(in crate::cli::context) fn resolved(&self, path: &str) -> PathBuf {
        let folder = self.path.as_deref().and_then(Path::parent);
        folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
    }

    /// Writes the file, whole or not at all. Only its owner may read it.
    pub(in crate::cli::context) fn save(&self) -> Result<(), CommandError> {
        let Some(path) = &self.path else {
            return Err(CommandError::new("no variable says where contexts are kept", "set HOME or LANYARD_CONTEXTS"));
        };
        let failed = |problem: &str| {
            let next = "name a file that you may write to in LANYARD_CONTEXTS";
            CommandError::new(format!("cannot write {}: {problem}", path.display()), next)
        };
        let text = yaml::to_string(&self.content).map_err(|error| failed(&error.to_string()))?;
        write(path, &text).map_err(|error| failed(&error.to_string()))
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = WholeFile::create(path)?;
    file.write(text.as_bytes())?;
    file.finish()
}

/// Where the file is, by these variables. An empty variable counts as none, and so does a relative `XDG_CONFIG_HOME` (XDG
/// Base Directory Specification).
fn location(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = || path("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
    path(CONTEXTS).or_else(|| {
        let folder = folder().or_else(|| path("HOME").map(|home| home.join(".config")))?;
        Some(folder.join("lanyard/contexts.yaml"))
    })
}

/// Reads the file's text. No message shows a value.
fn parse(text: &str) -> Result<Content, String> {
    let tree = yaml::document(text, yaml::PlainScalars::MayBeText).map_err(|error| error.to_string())?;
    let content: Content = yaml::read(&tree).map_err(|error| error.to_string())?;
    for (name, context) in &content.contexts {
        let wrong = |field: &str, problem: &str| Err(format!("contexts.{name}.{field}: {problem}"));
        if let Some(Err(problem)) = context.server.as_deref().map(server_url) {
            return wrong("server", problem);
        }
        for (field, path) in [("ca", &context.ca), ("cert", &context.cert), ("key", &context.key)] {
            let is_path = |path: &String| !path.is_empty() && !path.contains('\n') && !path.contains("-----BEGIN");
            if !path.as_ref().is_none_or(is_path) {
                return wrong(field, "must be the path of a PEM file: a context never holds what is in one");
            }
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_where_the_first_of_the_variables_says() {
        let with = |set: &[(&str, &str)]| {
            let set: BTreeMap<String, OsString> =
                set.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
            location(|name| set.get(name).cloned())
        };
        let (home, xdg, own) = (("HOME", "/home/a"), ("XDG_CONFIG_HOME", "/xdg"), (CONTEXTS, "here.yaml"));
        assert_eq!(with(&[home, xdg, own]), Some("here.yaml".into()));
        assert_eq!(with(&[home, xdg, (CONTEXTS, "")]), Some("/xdg/lanyard/contexts.yaml".into()));
        for none in ["", "relative"] {
            let fallback = with(&[home, ("XDG_CONFIG_HOME", none)]);
            assert_eq!(fallback, Some("/home/a/.config/lanyard/contexts.yaml".into()));
        }
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn a_context_holds_paths_and_nothing_else() {
        let parsed =
            |fields: &str| parse(&format!("contexts:\n  a: {{{fields}}}\n")).map_err(|problem| problem.clone());
        assert!(parsed("server: 'https://a:1', ca: ca.pem, cert: c.pem, key: k.pem").is_ok());
        for (fields, problem) in [
            ("key: \"-----BEGIN PRIVATE KEY-----\"", "contexts.a.key: must be the path"),
            ("cert: \"a\\nb\"", "contexts.a.cert: must be the path"),
            ("ca: ''", "contexts.a.ca: must be the path"),
            ("token: secret-text", "token"),
            ("server: 'http://a:1'", "contexts.a.server: must be https"),
        ] {
            let said = parsed(fields).unwrap_err();
            assert!(said.contains(problem) && !said.contains("secret-text") && !said.contains("BEGIN"), "{said}");
        }
    }
}
