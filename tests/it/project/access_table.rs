//! The access table is asked once a request, and what it says is handed down.

use crate::project::layering::crate_sources;

/// The files whose code, comments aside, contains this text, once for each occurrence.
fn naming(text: &str, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (file, source) in crate_sources().into_iter().filter(|(file, _)| file.starts_with(folder)) {
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        found.extend(code.flat_map(|line| line.matches(text)).map(|_| file.clone()));
    }
    found
}

#[test]
fn a_request_is_looked_up_where_its_head_is_read_and_nowhere_else() {
    let one = "src/server/middleware/called_method.rs";
    // A message of a stream is a request too, and always of the same method.
    let (snapshot, streams) = ("src/grpc/snapshot.rs", ["src/grpc/binding_stream.rs", "src/grpc/decisions.rs"]);
    assert_eq!(naming("CalledMethod::find(", "src/"), [streams[0], streams[1], snapshot, snapshot, one]);
    // One for each kind of connection: refused, without a client certificate, and with one. A request comes on one of them.
    let kinds = ["middleware/thread_limits.rs", "transport/guarded.rs", "transport/unguarded.rs"];
    assert_eq!(naming("called_method(&", "src/"), kinds.map(|file| format!("src/server/{file}")));
    let mut asking = naming("METHODS", "src/authority/");
    asking.extend(naming("access::METHODS", "src/server/"));
    asking.dedup();
    let table = ["src/authority/access/methods.rs", "src/authority/access/mod.rs"];
    assert_eq!(asking, [table[0], table[1], "src/authority/observe/requests.rs"]);
}

#[test]
fn what_surrounds_requests_names_no_path_of_a_method() {
    let files = ["src/server/middleware/", "src/server/transport/"];
    for file in files {
        assert_eq!(naming("\"/", file), Vec::<String>::new());
        let mut reading = naming(".uri()", file);
        reading.dedup();
        assert_eq!(reading, if file == files[0] { vec![files[0].to_owned() + "called_method.rs"] } else { vec![] });
    }
}
