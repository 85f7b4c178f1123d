//! Records as JSON. It is what `serde_json` prints, which looks at each byte of a text by itself: that took longer than the hash
//! of the line.

use std::convert::Infallible;
use std::io::Write as _;

use opentelemetry::trace::TraceId;

use crate::authority::observe::AuditRecord;
use crate::authority::observe::Member;

/// Appends the members of a record with the trace that it is part of, and the end of its object. The begin is the line's.
pub(super) fn print(record: &AuditRecord, trace: Option<TraceId>, out: &mut Vec<u8>) {
    let mut comma = 1;
    let printed: Result<(), Infallible> = record.members(|name, value| {
        out.extend_from_slice(name.after_another().as_bytes().get(comma..).unwrap_or_default());
        comma = 0;
        match value {
            Member::Text(text) => print_text(text, out),
            Member::Number(number) => print_number(number, out),
        }
        Ok(())
    });
    let Ok(()) = printed;
    if let Some(trace) = trace {
        let mut digits = [0; 32];
        // There is room for all of its digits.
        if hex::encode_to_slice(trace.to_bytes(), &mut digits).is_ok() {
            out.extend_from_slice(b",\"trace_id\":\"");
            out.extend_from_slice(&digits);
            out.push(b'"');
        }
    }
    out.push(b'}');
}

pub(super) fn print_number(number: u64, out: &mut Vec<u8>) {
    // To write to memory does not fail.
    drop(write!(out, "{number}"));
}

/// Appends a text as a JSON string (RFC 8259 section 7).
pub(super) fn print_text(text: &str, out: &mut Vec<u8>) {
    // Without a way out of the loop, so that it looks at many bytes at a time.
    let is_plain = text.bytes().fold(true, |is_plain, byte| is_plain & !matches!(byte, 0..0x20 | b'"' | b'\\'));
    if is_plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // To write to memory does not fail.
        drop(serde_json::to_writer(out, text));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authority::observe::AuditEvent;
    use crate::authority::observe::AuditOutcome;
    use crate::authority::observe::Severity;

    fn printed(text: &str) -> String {
        let mut out = Vec::new();
        print_text(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_character_that_json_escapes_is_escaped_wherever_it_is() {
        for character in (0..0x300).filter_map(char::from_u32).chain(['\u{2028}', '\u{fffd}', '\u{1f511}']) {
            for text in [format!("{character}"), format!("a{character}"), format!("{}{character}b", "a".repeat(70))] {
                assert_eq!(printed(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn a_text_is_printed_as_serde_json_prints_it(text in any::<String>()) {
            prop_assert_eq!(printed(&text), serde_json::to_string(&text).unwrap());
        }
    }

    #[test]
    fn a_record_is_printed_as_serde_json_prints_it_with_its_trace_at_the_end() {
        let (event, severity) = (AuditEvent::AdminRead, Severity::Debug);
        let record = AuditRecord::of_repeated(event, severity, AuditOutcome::Allowed, u64::MAX);
        let object = serde_json::to_string(&record).unwrap();
        let mut out = b"{".to_vec();
        print(&record, None, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), object);
        let mut out = b"{".to_vec();
        print(&record, Some(TraceId::from(0xa1_u128)), &mut out);
        let traced = object.replace('}', &format!(",\"trace_id\":\"{:032x}\"}}", 0xa1_u128));
        assert_eq!(String::from_utf8(out).unwrap(), traced);
    }
}
