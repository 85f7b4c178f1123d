//! Completes each line of the log: adds the trace, and escapes control characters that would steer a terminal or begin
//! a new line.

use std::fmt;

use tracing::Event;
use tracing::Subscriber;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormatEvent;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::format::Format;
use crate::trace_context;

/// Formats events with `inner`, which ends each with a newline, and adds `trace_id`.
#[derive(Debug)]
pub(super) struct Line<F> {
    pub(super) inner: F,
    pub(super) format: Format,
}

impl<S, N, F> FormatEvent<S, N> for Line<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::with_capacity(512);
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let id = trace_context::current_id();
        let text = line.trim_end_matches('\n');
        match self.format {
            Format::Text => {
                escape(text, self.format, &mut writer)?;
                if let Some(id) = id {
                    write!(writer, " trace_id={id}")?;
                }
            }
            Format::Json => match (text.strip_suffix('}'), id) {
                (Some(members), Some(id)) => {
                    escape(members, self.format, &mut writer)?;
                    write!(writer, ",\"trace_id\":\"{id}\"}}")?;
                }
                _ => escape(text, self.format, &mut writer)?,
            },
        }
        writer.write_char('\n')
    }
}

/// Writes the text with its control characters escaped, so that a caller's text can neither begin a line nor reach a
/// terminal. JSON itself permits unescaped characters from U+007F on (RFC 8259 section 7).
fn escape(text: &str, format: Format, writer: &mut impl fmt::Write) -> fmt::Result {
    let mut rest = text;
    while let Some((at, control)) = rest.char_indices().find(|(_, one)| one.is_control()) {
        let (before, from) = rest.split_at(at);
        match format {
            Format::Text => write!(writer, "{before}{}", control.escape_default())?,
            Format::Json => write!(writer, "{before}\\u{:04x}", u32::from(control))?,
        }
        rest = from.get(control.len_utf8()..).unwrap_or_default();
    }
    writer.write_str(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_nothing_else_is() {
        for (text, expected) in [
            ("a grüne line", "a grüne line"),
            ("one\r\ntwo", "one\\r\\ntwo"),
            ("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\u{0}"),
        ] {
            let mut written = String::new();
            escape(text, Format::Text, &mut written).unwrap();
            assert_eq!(written, expected);
        }
        let mut written = String::new();
        escape("{\"a\":\"\u{9b}31m\u{7f}\"}", Format::Json, &mut written).unwrap();
        assert_eq!(written, "{\"a\":\"\\u009b31m\\u007f\"}");
    }
}
