//! `lanyard token get --out`: only a regular file is replaced, and no token is left behind.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use crate::support::dev::Dev;
use crate::support::dev::Files;
use crate::support::process::Finished;
use crate::support::process::run;
use crate::support::process::text;

fn get(files: &Files, name: &str, flags: &[&str]) -> Finished {
    files.run("workload", &[&["token", "get", "--out", text(&files.path(name))], flags].concat())
}

#[test]
fn a_fifo_and_a_device_are_written_to_and_stay_what_they_are() {
    let Dev { files, .. } = &Dev::start();
    let pipe = files.path("pipe");
    run(Command::new("mkfifo").arg(&pipe)).ok();
    let reader = {
        let pipe = pipe.clone();
        thread::spawn(move || fs::read_to_string(pipe).unwrap())
    };
    assert_eq!(get(files, "pipe", &[]).ok(), "");
    // Before the reader is waited for, which would wait forever.
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    let token = reader.join().unwrap();
    assert_eq!(token.split('.').count(), 3, "{token}");

    // A pipe, as it is behind a shell's >(…).
    let printed = files.run("workload", &["token", "get", "--out", "/proc/self/fd/1"]).ok();
    assert_eq!(printed.split('.').count(), 3, "{printed}");
}

#[test]
fn what_can_hold_no_token_is_refused_before_one_is_requested() {
    let Dev { files, .. } = &Dev::start();
    fs::create_dir(files.path("folder")).unwrap();
    let _socket = UnixListener::bind(files.path("socket")).unwrap();
    get(files, "folder", &[]).refused("folder is a directory", "--out");
    get(files, "socket", &[]).refused("socket is a socket", "--out");
    run(Command::new("mkfifo").arg(files.path("pipe"))).ok();
    get(files, "pipe", &["--watch"]).refused("pipe is not a regular file", "--out");
    let names = fs::read_dir(&files.dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.ends_with(".unfinished")));
    assert_eq!(fs::read_dir(files.path("folder")).unwrap().count(), 0);

    // The nearest thing that is replaced.
    fs::write(files.path("file"), "before").unwrap();
    assert_eq!(get(files, "file", &[]).ok(), "");
    assert_eq!(fs::read_to_string(files.path("file")).unwrap().split('.').count(), 3);
}
