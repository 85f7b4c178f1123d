//! Finds and reads the YAML sources of the commands that take documents.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::apply::Conditions;
use crate::apply::Document as _;
use crate::authority::access::GrantMetadata;
use crate::cli::client::yaml::ClientYaml;
use crate::cli::documents::Kind;
use crate::cli::documents::Registered;
use crate::cli::error::CommandError;
use crate::cli::resource::yaml::ResourceYaml;
use crate::yaml;
use crate::yaml::Node;
use crate::yaml::PlainScalars;
use crate::yaml::YamlError;

impl Kind {
    /// Takes the kind out of a document. One that does not name it shows it by its fields, unless they are wrong.
    fn take(document: &mut Node) -> Result<Option<Self>, YamlError> {
        if let Some(kind) = document.take("kind") {
            return yaml::read(&kind).map(Some);
        }
        if document.get("admins").is_some() {
            return Ok(Some(Self::Grant));
        }
        let is_client = document.get("client_id").is_some();
        let is_resource = document.get("audience").is_some_and(Node::is_text);
        Ok(if is_client { Some(Self::Client) } else { is_resource.then_some(Self::Resource) })
    }

    /// The name of the kind's command.
    fn command(self) -> &'static str {
        match self {
            Self::Client => ClientYaml::KIND,
            Self::Resource => ResourceYaml::KIND,
            Self::Grant => GrantMetadata::KIND,
        }
    }
}

/// The sources of the documents.
#[derive(Args, Debug)]
pub(in crate::cli) struct SourceArguments {
    /// A YAML file of one or more documents, a directory of *.yaml and *.yml files, or - for stdin. It may be given several
    /// times.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    pub(in crate::cli) filenames: Vec<PathBuf>,
}

/// Reads every document of files, of the `*.yaml` and `*.yml` files of directories in the order of their names, or of
/// stdin (`-`). Fails if any document cannot be read, is of another kind, or appears twice.
pub(in crate::cli) fn read<K: Registered>(paths: &[PathBuf]) -> Result<Collected<K>, CommandError> {
    let mut collected = Collected::<K>::default();
    for source in texts(paths)? {
        for Parsed { kind, etag, document } in parsed(&source)? {
            if let Some(other) = kind.map(Kind::command).filter(|other| *other != K::KIND) {
                let problem =
                    format!("{}: there is a {other} in it, and this command is for {}s", source.name, K::KIND);
                return Err(CommandError::new(
                    problem,
                    format!("apply it with `lanyard apply`, which takes all kinds, or with `lanyard {other} apply`"),
                ));
            }
            collected.add(&source, etag, yaml::read(&document).map_err(|error| source.wrong(&error))?)?;
        }
    }
    if collected.documents.is_empty() {
        return Err(CommandError::new(
            format!("no {} in {}", K::KIND, shown(paths)),
            format!("name YAML documents, each with {}; a directory is not searched deeper", K::NAME),
        )
        .not_retryable());
    }
    Ok(collected)
}

/// The documents of all kinds.
pub(in crate::cli::documents) struct Documents {
    pub(in crate::cli::documents) grants: Collected<GrantMetadata>,
    pub(in crate::cli::documents) clients: Collected<ClientYaml>,
    pub(in crate::cli::documents) resources: Collected<ResourceYaml>,
}

/// Reads the documents of all kinds from the same sources as [`read`].
pub(in crate::cli::documents) fn read_all(paths: &[PathBuf]) -> Result<Documents, CommandError> {
    let (mut clients, mut resources) = (Collected::<ClientYaml>::default(), Collected::<ResourceYaml>::default());
    let mut grants = Collected::<GrantMetadata>::default();
    for source in texts(paths)? {
        for Parsed { kind, etag, document } in parsed(&source)? {
            let wrong = |error: YamlError| source.wrong(&error);
            match kind {
                Some(Kind::Client) | None => clients.add(&source, etag, yaml::read(&document).map_err(wrong)?)?,
                Some(Kind::Resource) => resources.add(&source, etag, yaml::read(&document).map_err(wrong)?)?,
                Some(Kind::Grant) => grants.add(&source, etag, yaml::read(&document).map_err(wrong)?)?,
            }
        }
    }
    if clients.documents.is_empty() && resources.documents.is_empty() && grants.documents.is_empty() {
        return Err(CommandError::new(
            format!("no client, no resource and no grant in {}", shown(paths)),
            "name YAML documents, each with client_id, or of a resource with audience, or of a grant with admins; a directory \
             is not searched deeper",
        )
        .not_retryable());
    }
    Ok(Documents { grants, clients, resources })
}

/// Refuses a source without documents: what it should have would be taken for gone. Directories are not searched deeper.
pub(in crate::cli::documents) fn refuse_empty(paths: &[PathBuf]) -> Result<(), CommandError> {
    for path in paths.iter().filter(|path| *path != Path::new("-")) {
        let has_folders = || fs::read_dir(path).is_ok_and(|all| all.flatten().any(|entry| entry.path().is_dir()));
        let next = "name each folder with documents with a -f of its own, and leave out what has none";
        let problem = if texts(std::slice::from_ref(path))?.is_empty() {
            "it has no documents, and --prune would delete what it should have"
        } else if path.is_dir() && has_folders() {
            "there are folders in it, which are not searched, and --prune would delete what they have"
        } else {
            continue;
        };
        return Err(CommandError::new(format!("{}: {problem}", path.display()), next).not_retryable());
    }
    Ok(())
}

/// The documents of one kind, with the conditions on which they are applied, and the source of each by its name.
pub(in crate::cli) struct Collected<K: Registered> {
    pub(in crate::cli) documents: Vec<K::Metadata>,
    pub(in crate::cli::documents) conditions: Conditions,
    sources: HashMap<String, String>,
}

impl<K: Registered> Default for Collected<K> {
    fn default() -> Self {
        Self { documents: Vec::new(), conditions: Conditions::default(), sources: HashMap::new() }
    }
}

impl<K: Registered> Collected<K> {
    fn add(&mut self, source: &Source, etag: Option<String>, document: K) -> Result<(), CommandError> {
        let Source { name, folder, .. } = source;
        let called = document.metadata().name().to_owned();
        if let Some(first) = self.sources.insert(called.clone(), name.clone()) {
            let problem = format!("{} '{called}' appears twice: in {first} and in {name}", K::NAME);
            return Err(CommandError::new(problem, "leave one of the two out").not_retryable());
        }
        self.conditions.etags.extend(etag.map(|etag| (called.clone(), etag)));
        self.documents.push(document.completed(folder).map_err(|error| error.of(&format!("{name}: {called}")))?);
        Ok(())
    }
}

/// A document of a source: its kind and the `etag` that it was written for, where it says so, and the rest.
struct Parsed {
    kind: Option<Kind>,
    etag: Option<String>,
    document: Node,
}

fn parsed(source: &Source) -> Result<Vec<Parsed>, CommandError> {
    let wrong = |error: YamlError| source.wrong(&error);
    let documents = yaml::documents(&source.text, PlainScalars::MayBeText).map_err(wrong)?.into_iter();
    let parse = |mut document: Node| {
        let kind = Kind::take(&mut document).map_err(wrong)?;
        let etag = document.take("etag").map(|etag| yaml::read(&etag)).transpose().map_err(wrong)?;
        Ok(Parsed { kind, etag, document })
    };
    documents.map(parse).collect()
}

/// Paths in a document are relative to its folder, or for stdin to the working directory.
struct Source {
    name: String,
    folder: PathBuf,
    text: String,
}

impl Source {
    fn wrong(&self, error: &YamlError) -> CommandError {
        let next = "correct the document; `lanyard client get CLIENT_ID`, `lanyard resource get AUDIENCE` and `lanyard grant get \
                    NAME` show the forms";
        CommandError::new(format!("{}: {error}", self.name), next).not_retryable()
    }
}

fn texts(paths: &[PathBuf]) -> Result<Vec<Source>, CommandError> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text).map_err(|error| CommandError::unreadable("stdin", &error))?;
            sources.push(Source { name: "stdin".to_owned(), folder: PathBuf::new(), text });
            continue;
        }
        for file in if path.is_dir() { files_in(path)? } else { vec![path.clone()] } {
            let name = file.display().to_string();
            let text = fs::read_to_string(&file).map_err(|error| CommandError::unreadable(&name, &error))?;
            let folder = file.parent().unwrap_or(Path::new("")).to_owned();
            sources.push(Source { name, folder, text });
        }
    }
    Ok(sources)
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let entries: io::Result<Vec<_>> = fs::read_dir(directory).and_then(Iterator::collect);
    let entries = entries.map_err(|error| CommandError::unreadable(directory.display(), &error))?;
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "yaml" || suffix == "yml");
    let mut files: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(is_yaml).collect();
    files.sort();
    Ok(files)
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::registration::ClientMetadata;

    fn read(path: &Path) -> Result<Vec<ClientMetadata>, CommandError> {
        super::read::<ClientYaml>(&[path.to_owned()]).map(|collected| collected.documents)
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
    fn several_sources_are_read_in_the_order_in_which_they_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["z.yaml", "a.yaml"].map(|name| directory.path().join(name));
        fs::write(&one, document("first")).unwrap();
        fs::write(&two, document("second")).unwrap();
        let clients = super::read::<ClientYaml>(&[one.clone(), two]).unwrap().documents;
        assert_eq!(clients.iter().map(|client| client.client_id.as_str()).collect::<Vec<_>>(), ["first", "second"]);
        let error = super::read::<ClientYaml>(&[one.clone(), one]).err().unwrap().to_string();
        assert!(error.contains("appears twice"), "{error}");
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
    fn a_document_may_name_its_kind_which_must_be_known_and_the_commands() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.yaml");
        let with_kind = |kind: &str| fs::write(&file, format!("kind: {kind}\n{}", document("one"))).unwrap();
        with_kind("Client");
        assert_eq!(read(&file).unwrap().len(), 1);
        with_kind("Resource");
        assert!(read(&file).unwrap_err().to_string().contains("there is a resource in it"));
        with_kind("Pod");
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("`Pod`") && error.contains("`Resource`") && error.contains("line 1"), "{error}");
        // What a document lacks is that of its kind.
        fs::write(&file, "kind: Resource\nclient_id: one\n").unwrap();
        let error = super::read::<ResourceYaml>(&[file]).err().unwrap().to_string();
        assert!(error.contains("unknown field `client_id`"), "{error}");
    }

    #[test]
    fn no_document_at_all_is_refused() {
        assert!(read(tempfile::tempdir().unwrap().path()).unwrap_err().to_string().contains("no client"));
    }
}
