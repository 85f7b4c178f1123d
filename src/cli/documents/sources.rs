//! Finds and reads the YAML sources of `apply`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use crate::apply::Document as _;
use crate::authority::registration::ClientMetadata;
use crate::authority::resources::ResourceMetadata;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents;
use crate::cli::documents::Registered;
use crate::cli::error::CommandError;
use crate::cli::resource::yaml::ResourceYaml;
use crate::yaml;
use crate::yaml::PlainScalars;

/// Reads every document of a file, of the `*.yaml` and `*.yml` files of a directory in the order of their names, or of
/// stdin (`-`). Fails if any document cannot be read or appears twice.
pub(in crate::cli::documents) fn read<K: Registered>(path: &Path) -> Result<Vec<K::Metadata>, CommandError> {
    let mut collected = Collected::<K>::default();
    for source in texts(path)? {
        let (name, text) = (&source.name, &source.text);
        let found = documents::documents::<K>(text).map_err(|error| unsound::<K>(name, text, &error))?;
        for document in found {
            collected.add(&source, document)?;
        }
    }
    if collected.documents.is_empty() {
        return Err(CommandError::new(
            format!("no {} in {}", K::KIND, path.display()),
            format!("name YAML documents, each with {}; a directory is not searched deeper", K::NAME),
        )
        .not_retryable());
    }
    Ok(collected.documents)
}

/// Reads the documents of both kinds from the same sources as [`read`].
pub(in crate::cli::documents) fn read_both(
    path: &Path,
) -> Result<(Vec<ClientMetadata>, Vec<ResourceMetadata>), CommandError> {
    let (mut clients, mut resources) = (Collected::<ClientYaml>::default(), Collected::<ResourceYaml>::default());
    for source in texts(path)? {
        let wrong = |error: yaml::YamlError| {
            let next = "correct the document; `lanyard client get CLIENT_ID` and `lanyard resource get AUDIENCE` show \
                        the forms";
            CommandError::new(format!("{}: {error}", source.name), next).not_retryable()
        };
        for document in yaml::documents(&source.text, PlainScalars::MayBeText).map_err(wrong)? {
            if ClientYaml::is_other(&document) {
                resources.add(&source, yaml::read(&document).map_err(wrong)?)?;
            } else {
                clients.add(&source, yaml::read(&document).map_err(wrong)?)?;
            }
        }
    }
    if clients.documents.is_empty() && resources.documents.is_empty() {
        return Err(CommandError::new(
            format!("no client and no resource in {}", path.display()),
            "name YAML documents, each with client_id, or of a resource with audience; a directory is not searched deeper",
        )
        .not_retryable());
    }
    Ok((clients.documents, resources.documents))
}

/// The documents of one kind, and the source of each by its name.
struct Collected<K: Registered> {
    documents: Vec<K::Metadata>,
    sources: HashMap<String, String>,
}

impl<K: Registered> Default for Collected<K> {
    fn default() -> Self {
        Self { documents: Vec::new(), sources: HashMap::new() }
    }
}

impl<K: Registered> Collected<K> {
    fn add(&mut self, source: &Source, document: K) -> Result<(), CommandError> {
        let Source { name, folder, .. } = source;
        let called = document.metadata().name().to_owned();
        if let Some(first) = self.sources.insert(called.clone(), name.clone()) {
            let problem = format!("{} '{called}' appears twice: in {first} and in {name}", K::NAME);
            return Err(CommandError::new(problem, "leave one of the two out").not_retryable());
        }
        self.documents.push(document.completed(folder).map_err(|error| error.of(&format!("{name}: {called}")))?);
        Ok(())
    }
}

/// The error for a text in which a document is invalid or of the other kind.
fn unsound<K: Registered>(name: &str, text: &str, error: &yaml::YamlError) -> CommandError {
    let documents = yaml::documents(text, PlainScalars::MayBeText).unwrap_or_default();
    if documents.iter().any(K::is_other) {
        return CommandError::new(
            format!("{name}: {error}; there is a {} in it, and this command is for {}s", K::OTHER, K::KIND),
            format!("apply it with `lanyard {} apply`, from a file of its own kind", K::OTHER),
        );
    }
    let next =
        format!("correct the document; `lanyard {} get {}` shows the form of one", K::KIND, K::NAME.to_uppercase());
    CommandError::new(format!("{name}: {error}"), next)
}

/// Paths in a document are relative to its folder, or for stdin to the working directory.
struct Source {
    name: String,
    folder: PathBuf,
    text: String,
}

fn texts(path: &Path) -> Result<Vec<Source>, CommandError> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map_err(|error| unreadable("stdin", &error))?;
        return Ok(vec![Source { name: "stdin".to_owned(), folder: PathBuf::new(), text }]);
    }
    let files = if path.is_dir() { files_in(path)? } else { vec![path.to_owned()] };
    let read = |file: PathBuf| {
        let name = file.display().to_string();
        let text = fs::read_to_string(&file).map_err(|error| unreadable(&name, &error))?;
        Ok(Source { name, folder: file.parent().unwrap_or(Path::new("")).to_owned(), text })
    };
    files.into_iter().map(read).collect()
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let entries: io::Result<Vec<_>> = fs::read_dir(directory).and_then(Iterator::collect);
    let entries = entries.map_err(|error| unreadable(&directory.display().to_string(), &error))?;
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "yaml" || suffix == "yml");
    let mut files: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(is_yaml).collect();
    files.sort();
    Ok(files)
}

fn unreadable(name: &str, error: &io::Error) -> CommandError {
    CommandError::new(
        format!("cannot read {name}: {error}"),
        "see whether the path is right and whether you may read it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<Vec<ClientMetadata>, CommandError> {
        super::read::<ClientYaml>(path)
    }

    fn document(client_id: &str) -> String {
        format!("client_id: {client_id}\ntoken_endpoint_auth_method: spiffe_x509\n")
    }

    #[test]
    fn a_directory_is_read_in_the_order_of_names_and_without_other_files() {
        let directory = tempfile::tempdir().unwrap();
        for (name, client_id) in [("b.yml", "second"), ("a.yaml", "first"), ("c.txt", "other")] {
            fs::write(directory.path().join(name), document(client_id)).unwrap();
        }
        let names: Vec<String> = read(directory.path()).unwrap().into_iter().map(|client| client.client_id).collect();
        assert_eq!(names, ["first", "second"]);
    }

    #[test]
    fn a_client_that_stands_twice_is_refused_with_both_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), document("one")).unwrap();
        fs::write(directory.path().join("b.yaml"), document("one")).unwrap();
        let error = read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("a.yaml") && error.contains("b.yaml"), "{error}");
    }

    #[test]
    fn a_broken_document_is_refused_with_file_and_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        fs::write(&file, format!("{}onwer: me\n", document("one"))).unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("a.yaml: ") && error.contains("line 3"), "{error}");
    }

    #[test]
    fn no_document_at_all_is_refused() {
        assert!(read(tempfile::tempdir().unwrap().path()).unwrap_err().to_string().contains("no client"));
    }
}
