//! Builds the image without a container engine: the Dockerfile's steps run in roots of their own (chroot, with mounts
//! in their own namespace), and so does the resulting image.
//!
//! Where a stage begins with an image, this machine's own files replace it, read-only: its toolchain, its C library,
//! its CAs. What the build says about packages and versions of the base image is not tested.

use std::env;
use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::dockerfile::Dockerfile;
use crate::support::dockerfile::Ignore;
use crate::support::dockerfile::Step;
use crate::support::process::run;
use crate::support::server::in_crate;
use crate::support::tools::skipped;

/// Names another folder for cargo's output while building the image, such as the checkout's own `target`, which may
/// contain a release build already. By default it is one beside the test's own, and the second run is fast.
const TARGET: &str = "LANYARD_IMAGE_TARGET";

/// A step of the Dockerfile, in the root `$1`, with the folder for cargo's output at `$2`; `$5` is its working
/// directory, `$6` its command.
const STEP: &str = r#"
set -eu
root=$1 target=$2 cargo=$3 rustup=$4
mkdir -p "$root/tmp" "$root$5/target"
for place in bin sbin lib lib32 lib64 libx32 usr etc; do
    if [ -L "/$place" ]; then
        ln -sfn "$(readlink "/$place")" "$root/$place"
    elif [ -d "/$place" ]; then
        mkdir -p "$root/$place"
        mount --rbind "/$place" "$root/$place"
        mount -o remount,bind,ro "$root/$place"
    fi
done
for place in /dev /proc "$cargo" "$rustup"; do
    [ -d "$place" ] || continue
    mkdir -p "$root$place"
    mount --rbind "$place" "$root$place"
done
mount --bind "$target" "$root$5/target"
exec chroot "$root" env -i PATH="$PATH" HOME=/tmp CARGO_HOME="$cargo" RUSTUP_HOME="$rustup" \
    ${RUSTUP_TOOLCHAIN:+RUSTUP_TOOLCHAIN="$RUSTUP_TOOLCHAIN"} CARGO_NET_OFFLINE=true \
    sh -c 'cd "$0" && exec sh -c "$1"' "$5" "$6"
"#;

/// A container: the root `$1` read-only, for the user `$2`, with volumes, each SOURCE=PLACE, up to `--`, then the
/// command.
const CONTAINER: &str = r#"
set -eu
root=$1 user=$2
shift 2
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
    source=${1%%=*} place=$root${1#*=}
    if [ -d "$source" ]; then
        mkdir -p "$place"
    else
        mkdir -p "${place%/*}"
        : >> "$place"
    fi
    mount --bind "$source" "$place"
    shift
done
shift
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" "$@"
"#;

/// The step that builds the binary.
const BUILD: &str = "cargo build --release --locked";

/// The result of a Dockerfile.
pub struct Image {
    /// The files of the image.
    pub root: PathBuf,
    pub user: String,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    folder: TempDir,
}

impl Image {
    /// Builds the Dockerfile of a checkout from the files that its `.dockerignore` includes; `None` if the image is to
    /// be skipped.
    pub fn build(checkout: &Path) -> Option<Self> {
        (!skipped("image")).then(|| Self::assemble(checkout, None))
    }

    /// What this checkout's Dockerfile makes, with this binary in the place of the one that it would build.
    pub fn around(binary: &Path) -> Self {
        Self::assemble(&in_crate(""), Some(binary))
    }

    fn assemble(checkout: &Path, binary: Option<&Path>) -> Self {
        let remedy = "be root, as in a container, or have user namespaces with a range of subordinate ids (on Debian: \
            apt-get install uidmap); or leave it out with LANYARD_SKIP=image";
        let may = run(within(&["true"]).env("LC_ALL", "C"));
        assert_eq!(may.code, Some(0), "the image needs mounts of its own: {remedy}\n{may:?}");

        let read = |name| fs::read_to_string(checkout.join(name)).unwrap();
        let dockerfile = Dockerfile::parse(&read("Dockerfile")).unwrap();
        let context = Ignore::parse(&read(".dockerignore")).unwrap().let_through(checkout);
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut image =
            Self { root: PathBuf::new(), user: String::new(), entrypoint: Vec::new(), command: Vec::new(), folder };
        for (place, stage) in dockerfile.stages.iter().enumerate() {
            image.root = image.folder.path().join(stage.name.clone().unwrap_or_else(|| place.to_string()));
            fs::create_dir(&image.root).unwrap();
            if stage.base != "scratch" {
                say(&format!("this machine replaces {}", stage.base));
            }
            let mut working_directory = "/".to_owned();
            for step in &stage.steps {
                image.take(step, checkout, &context, binary, &mut working_directory);
            }
        }
        image
    }

    fn take(
        &mut self,
        step: &Step,
        checkout: &Path,
        context: &[String],
        binary: Option<&Path>,
        working_directory: &mut String,
    ) {
        match step {
            Step::WorkingDirectory(path) => {
                working_directory.clone_from(path);
                fs::create_dir_all(inside(&self.root, path)).unwrap();
            }
            Step::CopyContext(to) => {
                let to = inside(&self.root, working_directory).join(to);
                for path in context {
                    copy(&checkout.join(path), &to.join(path));
                }
            }
            Step::CopyStage { stage, folder } => {
                let from = inside(&self.folder.path().join(stage), folder);
                run(within(&["cp", "-a"]).arg(from.join(".")).arg(&self.root)).ok();
            }
            Step::Run(line) => match binary {
                Some(binary) if line == BUILD => copy(binary, &self.folder.path().join("target/release/lanyard")),
                Some(_) => self.run_step(line, working_directory, &self.folder.path().join("target")),
                None => self.run_step(line, working_directory, &target()),
            },
            Step::User(user) => self.user.clone_from(user),
            Step::Entrypoint(words) => self.entrypoint.clone_from(words),
            Step::Command(words) => self.command.clone_from(words),
            Step::Labels(_) | Step::Expose(_) | Step::StopSignal(_) => {}
        }
    }

    fn run_step(&self, line: &str, working_directory: &str, target: &Path) {
        say(&format!("RUN {line}"));
        let home = PathBuf::from(env::var_os("HOME").unwrap());
        let tools = |name, usual| env::var_os(name).map_or_else(|| home.join(usual), PathBuf::from);
        fs::create_dir_all(target).unwrap();
        let mut command = within(&["sh", "-c", STEP, "step"]);
        command.arg(&self.root).arg(target).arg(tools("CARGO_HOME", ".cargo")).arg(tools("RUSTUP_HOME", ".rustup"));
        run(command.args([working_directory, line])).ok();
    }

    /// A command in a container of the image, with its user, the network of this machine, and these volumes.
    pub fn command(&self, volumes: &[(&Path, &str)], variables: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = within(&["sh", "-c", CONTAINER, "container"]);
        command.arg(&self.root).arg(&self.user);
        for (source, place) in volumes {
            command.arg(format!("{}={place}", source.display()));
        }
        command.arg("--").args(&self.entrypoint).args(arguments);
        let path = env::var_os("PATH").unwrap();
        command.env_clear().env("PATH", path).envs(variables.iter().copied());
        command
    }

    /// A copy that a test may change.
    pub fn copy(&self) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = folder.path().join("root");
        run(within(&["cp", "-a"]).args([&self.root, &root])).ok();
        let Self { user, entrypoint, command, .. } = self;
        Self { root, user: user.clone(), entrypoint: entrypoint.clone(), command: command.clone(), folder }
    }

    /// All files and folders in the image.
    pub fn entries(&self) -> Vec<Entry> {
        let found = run(within(&["find"]).arg(&self.root).args(["-mindepth", "1", "-printf", "%P %y %m %U %G\n"])).ok();
        let entry = |line: &str| {
            let [path, kind, mode, user, group] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let mode = u32::from_str_radix(mode, 8).unwrap();
            let (user, group) = (user.parse().unwrap(), group.parse().unwrap());
            Entry { path: path.to_owned(), kind: kind.to_owned(), mode, user, group }
        };
        found.lines().map(entry).collect()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Some files belong to other users, where this is a user's own namespace. What is left is in the build's
        // folder.
        let _gone = run(within(&["rm", "-rf"]).arg(self.folder.path())).code == Some(0);
    }
}

/// A file or folder of the image.
#[derive(Debug)]
pub struct Entry {
    /// The path, without a leading slash.
    pub path: String,
    /// The type as `find` prints it: `f`, `d`, or another letter.
    pub kind: String,
    pub mode: u32,
    pub user: u32,
    pub group: u32,
}

/// A command as root with its own mounts.
pub fn within(words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if run(Command::new("id").arg("-u")).ok().trim() != "0" {
        command.args(["--map-root-user", "--map-auto"]);
    }
    command.args(words);
    command
}

/// Copies a file of the context. It keeps its modification time, by which cargo detects changes.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
    let changed = fs::metadata(from).unwrap().modified().unwrap();
    File::options().write(true).open(to).unwrap().set_modified(changed).unwrap();
}

/// The folder for cargo's output.
fn target() -> PathBuf {
    let own = || Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-target");
    env::var_os(TARGET).map_or_else(own, |target| in_crate("").join(target))
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Not println, whose output the test harness hides when the test succeeds.
fn say(line: &str) {
    let _unseen = writeln!(std::io::stderr(), "image: {line}").is_err();
}
