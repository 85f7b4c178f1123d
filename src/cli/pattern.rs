//! Names with stars, as `list` and `audit search` take them.

/// Whether a name is that of the pattern, in which `*` stands for any text.
pub(in crate::cli) fn matches(pattern: &str, name: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(begin) else { return false };
    let mut ends = name.char_indices().map(|(place, _)| place).chain([name.len()]);
    ends.any(|place| name.get(place..).is_some_and(|left| matches(rest, left)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [("a", "a"), ("*", ""), ("a*", "a"), ("a*c", "abc"), ("*b*", "abc"), ("*é", "aé")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a*", "ba"), ("a*c", "abcd"), ("*b*", "ac"), ("", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
