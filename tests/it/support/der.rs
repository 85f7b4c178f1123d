//! Enough DER to build certificates that certificate libraries refuse to build.

/// One element: tag, length and content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    if let Ok(short @ 0..0x80) = u8::try_from(content.len()) {
        out.push(short);
    } else {
        let length = content.len().to_be_bytes();
        let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
        out.push(0x80 | u8::try_from(significant.len()).unwrap());
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of elements.
pub fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &elements.concat())
}

/// The elements in `content`, each with its tag and length.
pub fn elements(content: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = content;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (header, length) = header(rest);
        let (one, after) = rest.split_at(header + length);
        found.push(one.to_vec());
        rest = after;
    }
    found
}

/// The content of one element.
pub fn content(element: &[u8]) -> &[u8] {
    &element[header(element).0..]
}

/// The length of the tag and length, and the length of the content.
fn header(element: &[u8]) -> (usize, usize) {
    let first = usize::from(element[1]);
    if first < 0x80 {
        return (2, first);
    }
    let bytes = &element[2..2 + (first & 0x7f)];
    (2 + bytes.len(), bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}
