//! How the lines of the trail are told from others: what standard output gave is often saved with the lines of the log, and
//! with what a container runtime writes before each line.

/// How every line of the trail begins: the name of its chain, and the number of the record. Nothing that the log writes does:
/// there the quotation marks of a caller's text are escaped.
const BEGIN: &[u8] = b"{\"chain\":\"";
const NEXT: &[u8] = b"\",\"sequence\":";

/// The record in a line: from where it begins, at the begin of the line or after a space, to the end of the line. `None` where
/// the line has no record.
pub fn record_in(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let place = line.windows(BEGIN.len()).position(|found| found == BEGIN)?;
    let begins = place.checked_sub(1).is_none_or(|before| line.get(before) == Some(&b' '));
    let record = line.get(place..)?;
    let name = record.get(BEGIN.len()..)?;
    let end = name.iter().position(|byte| *byte == b'"')?;
    (begins && name.get(end..)?.starts_with(NEXT)).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::record_in;

    #[test]
    fn a_record_is_found_at_the_begin_of_a_line_and_after_what_a_runtime_writes() {
        let record = b"{\"chain\":\"a-1-b\",\"sequence\":1}";
        for before in ["", "2026-11-30T18:00:00.000000000Z stdout F ", "[pod/lanyard-0/lanyard] "] {
            let line = [before.as_bytes(), record, b"\r"].concat();
            assert_eq!(record_in(&line), Some(&record[..]), "{before}");
        }
        for other in [
            "2026-11-30T18:00:00Z  INFO lanyard: serving mtls=127.0.0.1:8443",
            "{\"timestamp\":\"2026-11-30T18:00:00Z\",\"message\":\"call refused\",\"path\":\" {\\\"chain\\\":\\\"a\\\"\"}",
            "WARN check denied path=\" {\\\"chain\\\":\\\"a\\\",\"",
            "cause={\"chain\":\"a\",\"sequence\":1}",
            "{\"chain\":\"of another program\",\"level\":\"info\"}",
            "{\"chain\":\"a",
            "",
        ] {
            assert_eq!(record_in(other.as_bytes()), None, "{other}");
        }
    }
}
