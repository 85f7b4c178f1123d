//! What a proxy reports of a request: its path and its headers.

use percent_encoding::percent_decode_str;

use crate::authority::decision;
use crate::authority::resources::PathTemplate;
use crate::authority::resources::RequestPath;

/// The first line of the input as a template, the rest as a request target.
pub(crate) fn request_paths(input: &[u8]) {
    let Some((template, target)) = str::from_utf8(input).ok().and_then(|text| text.split_once('\n')) else { return };
    let parsed = PathTemplate::parse(template);
    let Ok(path) = RequestPath::parse(target) else { return };
    let written = target.split_once('?').map_or(target, |(path, _)| path);
    assert_eq!(RequestPath::parse(&format!("{written}?/../%2e")).as_ref(), Ok(&path));
    // Decoded as a whole, as some servers do, it is the same path, and decoded again nothing else.
    let Ok(decoded) = percent_decode_str(written).decode_utf8() else { unreachable!("it was decoded by its segments") };
    assert_eq!(percent_decode_str(&decoded).decode_utf8().ok().as_ref(), Some(&decoded));
    assert!(!decoded.contains("//") && !decoded.contains(['\\', ';', '\0']));
    assert!(decoded.split('/').all(|segment| segment != "." && segment != ".."));
    if let Some(parsed) = parsed {
        assert_eq!(parsed.matches(&path), is_matched(template, &decoded), "{template} {decoded}");
    }
}

/// A second reading of templates, by their text.
fn is_matched(template: &str, path: &str) -> bool {
    let (template, open) = template.strip_suffix("/**").map_or((template, false), |above| (above, true));
    let mut segments = path.split('/');
    for wanted in template.split('/') {
        let Some(found) = segments.next() else { return false };
        let is_variable = wanted.starts_with('{');
        if (is_variable && found.is_empty()) || (!is_variable && wanted != found) {
            return false;
        }
    }
    open || segments.next().is_none()
}

/// The lines of the input as the `authorization` headers of a request.
pub(crate) fn authorization(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let headers: Vec<(&str, &[u8])> = lines.iter().map(|line| ("Authorization", *line)).collect();
    let Ok(token) = decision::bearer_token(&headers) else { return };
    assert!(lines.len() == 1 && !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
    let again = format!("bearer  {token}");
    assert_eq!(decision::bearer_token(&[("AUTHORIZATION", again.as_bytes())]), Ok(token));
    // A second one, on its own line or joined, is never passed over.
    assert!(decision::bearer_token(&[("authorization", input), ("authorization", input)]).is_err());
    let joined = [input, b",", input].concat();
    assert!(decision::bearer_token(&[("authorization", &joined)]).is_err());
}

/// The headers of a check: those of this server never pass.
pub(crate) fn headers_of_a_check(headers: &[(&str, &[u8])]) {
    let removed = decision::removed(headers, None, true, true);
    assert!(removed.iter().any(|name| name == "authorization"));
    for (name, _) in headers {
        let is_ours = name.to_ascii_lowercase().replace('_', "-").starts_with("x-lanyard-");
        assert!(!is_ours || removed.iter().any(|gone| gone == name), "{name}");
    }
    if let Ok(joined) = decision::joined(headers, "x-forwarded-client-cert") {
        let lines = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-client-cert")).count();
        assert!(joined.matches(',').count() + 1 >= lines);
    }
}
