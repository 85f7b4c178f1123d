//! String preparation for caseIgnoreMatch: RFC 4518 section 2.

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Returns the prepared string, or `None` where the match would be Undefined. Two values match when their prepared
/// strings are equal.
///
/// Bidirectional characters are ignored (section 2.5). The caller has done the first step, transcoding, by passing a
/// `str`.
pub(super) fn prepare(text: &str) -> Option<String> {
    let mapped: String = text.chars().filter_map(map).flat_map(tables::case_fold_for_nfkc).collect();
    // RFC 4518 uses Unicode 3.2, and the normalizer a newer version, which would turn letters that 3.2 does not assign
    // (and that are therefore not case folded) into letters that it does. They are refused before normalization.
    if mapped.chars().any(tables::unassigned_code_point) {
        return None;
    }
    let normalized: Vec<char> = mapped.nfkc().collect();
    if normalized.iter().copied().any(is_prohibited) {
        return None;
    }
    Some(handle_insignificant_spaces(&normalized))
}

/// Section 2.2 without the case folding. The lists are the RFC's own, which calls them complete. Its `FF00-FE0F` is
/// read as FE00-FE0F, the variation selectors that it names.
#[expect(clippy::match_same_arms, reason = "each arm is one paragraph of the RFC, so that they can be compared")]
fn map(character: char) -> Option<char> {
    match character {
        // TAB to CR, NEL, and the separators.
        '\u{9}'..='\u{d}' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' => Some(' '),
        '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        // Soft hyphens, joiners and variation selectors.
        '\u{ad}' | '\u{1806}' | '\u{34f}' | '\u{180b}'..='\u{180d}' | '\u{fe00}'..='\u{fe0f}' | '\u{fffc}' => None,
        // All other control and format characters, and the zero width space.
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' => None,
        '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => None,
        '\u{2060}'..='\u{2063}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => None,
        '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}' => None,
        other => Some(other),
    }
}

/// Section 2.4. A `char` is never a surrogate.
fn is_prohibited(character: char) -> bool {
    tables::unassigned_code_point(character)
        || tables::change_display_properties_or_deprecated(character)
        || tables::private_use(character)
        || tables::non_character_code_point(character)
        || character == '\u{fffd}'
}

/// Section 2.6.1: one space at each end, two for each run of spaces within, two for a string of spaces alone. A space
/// before a combining mark is not counted as one of these.
fn handle_insignificant_spaces(characters: &[char]) -> String {
    let mut output = String::from(" ");
    let mut space_is_due = false;
    for (index, character) in characters.iter().enumerate() {
        let carries_mark = characters.get(index.saturating_add(1)).copied().is_some_and(is_combining_mark);
        if *character == ' ' && !carries_mark {
            space_is_due = output.len() > 1;
            continue;
        }
        if space_is_due {
            output.push_str("  ");
            space_is_due = false;
        }
        output.push(*character);
    }
    output.push(' ');
    output
}

#[cfg(test)]
mod tests {
    use super::prepare;

    fn prepared(text: &str) -> String {
        prepare(text).unwrap()
    }

    #[test]
    fn spaces_are_handled_as_the_rfc_shows() {
        assert_eq!(prepared("foo bar  "), " foo  bar ");
        assert_eq!(prepared("  Foo \t\u{a0}\u{2003} BAR"), " foo  bar ");
        assert_eq!(prepared("foobar"), " foobar ");
        assert_eq!(prepared(" "), "  ");
        assert_eq!(prepared("\u{3000}\r\n"), "  ");
        assert_eq!(prepared("\u{200b}"), "  ");
    }

    #[test]
    fn a_space_that_carries_a_combining_mark_is_significant() {
        assert_eq!(prepared("a  \u{301}b"), " a   \u{301}b ");
        assert_ne!(prepared("a \u{301}b"), prepared("a  \u{301}b"));
    }

    #[test]
    fn case_is_folded_as_unicode_3_2_does() {
        assert_eq!(prepared("Straße"), " strasse ");
        assert_eq!(prepared("ΣΊΣΥΦΟΣ"), prepared("σίσυφος"));
        assert_eq!(prepared("Ĳ"), " ij ");
        assert_eq!(prepared("\u{10400}"), " \u{10428} ");
        assert_eq!(prepared("ℌ"), " h ");
        assert_ne!(prepared("i"), prepared("ı"));
    }

    #[test]
    fn compatibility_forms_are_composed_and_normalized() {
        assert_eq!(prepared("ﬁle"), " file ");
        assert_eq!(prepared("ＡＢＣ"), " abc ");
        assert_eq!(prepared("e\u{301}"), " \u{e9} ");
        assert_ne!(prepared("e"), prepared("é"));
    }

    #[test]
    fn control_and_format_characters_are_mapped_to_nothing() {
        assert_eq!(prepared("a\u{ad}b\u{7}c\u{200d}d\u{fe0f}e\u{e0041}f"), " abcdef ");
    }

    #[test]
    fn prohibited_code_points_leave_the_match_undefined() {
        for prohibited in ["\u{e000}", "\u{fffd}", "\u{fdd0}", "\u{10ffff}", "\u{221}", "😀", "\u{1f130}", "\u{1d7cb}"]
        {
            assert_eq!(prepare(&format!("a{prohibited}")), None, "{prohibited:?}");
        }
        // The nearest allowed code points: musical symbols and mathematical letters of Unicode 3.1.
        assert_eq!(prepared("\u{1d11e}"), " \u{1d11e} ");
        assert_eq!(prepared("\u{1d400}"), " a ");
    }

    #[test]
    fn preparing_twice_changes_nothing_more() {
        for code_point in (0..0x3_0000).filter_map(char::from_u32) {
            if let Some(once) = prepare(&format!("a{code_point}b")) {
                assert_eq!(prepare(&once).as_deref(), Some(once.as_str()), "{code_point:?}");
            }
        }
    }
}
