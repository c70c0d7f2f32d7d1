//! A look at a document's brackets before the parser, which recurses for each of them, sees it.

use async_graphql::Pos;

/// How deep brackets of any kind may nest: 12 fields, the arguments below the last and room for inline fragments.
pub const BRACKETS: usize = 64;

/// Why a document is not given to the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Brackets nest deeper than [`BRACKETS`].
    TooDeep(Pos),
    /// A string that does not end, which no document may have.
    OpenString(Pos),
}

/// Checks how deep brackets nest outside strings and comments. Reads each byte once.
///
/// # Errors
///
/// The first place where the document is unreadable.
pub fn check(text: &str) -> Result<(), Unreadable> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' | b'(' => {
                depth += 1;
                if depth > BRACKETS {
                    return Err(Unreadable::TooDeep(position(text, at)));
                }
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            b'#' => at = end_of_line(bytes, at),
            b'"' => at = end_of_string(bytes, at).ok_or_else(|| Unreadable::OpenString(position(text, at)))?,
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The last byte of the line of `at`, or the text's end.
fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))
        .map_or(bytes.len(), |length| at + length)
}

/// Where the closing quote of the string that opens at `at` is. Both kinds of strings end where the grammar says, or the
/// document is refused: the parser must not find brackets where this saw text.
fn end_of_string(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes[at..].starts_with(b"\"\"\"") {
        let mut end = at + 3;
        while end < bytes.len() {
            if bytes[end..].starts_with(b"\\\"\"\"") {
                end += 4;
            } else if bytes[end..].starts_with(b"\"\"\"") {
                return Some(end + 2);
            } else {
                end += 1;
            }
        }
        return None;
    }
    let mut end = at + 1;
    loop {
        match bytes.get(end)? {
            b'\\' => end += 2,
            b'"' => return Some(end),
            b'\n' | b'\r' => return None,
            _ => end += 1,
        }
    }
}

/// Line and column, from 1, of the byte `at`.
fn position(text: &str, at: usize) -> Pos {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Pos {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_bounded_for_every_bracket() {
        for bracket in ["{", "[", "(", "{a(x:["] {
            let text = bracket.repeat(8_000);
            assert!(matches!(check(&text), Err(Unreadable::TooDeep(_))), "{bracket}");
        }
        assert_eq!(check(&"{a(x:[1])}".repeat(1_000)), Ok(()));
        assert_eq!(
            check(&format!("{}{}", "{".repeat(BRACKETS), "}".repeat(BRACKETS))),
            Ok(())
        );
    }

    #[test]
    fn brackets_in_strings_and_comments_are_text() {
        let deep = "[".repeat(100);
        for text in [
            format!("{{ a(x: \"{deep}\") }}"),
            format!("{{ a(x: \"\\\"{deep}\") }}"),
            format!("{{ a(x: \"\"\"\n{deep} \\\"\"\" {deep}\n\"\"\") }}"),
            format!("# {deep} \"\n{{ a }}"),
        ] {
            assert_eq!(check(&text), Ok(()), "{text}");
        }
        assert!(check(&format!("# \"\n{{ a(x: {deep}) }}")).is_err());
        assert!(check(&format!("{{ a(x: \"\", y: {deep}) }}")).is_err());
    }

    #[test]
    fn an_open_string_hides_nothing() {
        // A parser that gives up on the block string and reads two empty ones would meet the brackets.
        let text = format!("{{ a(x: [\"\"\"\"{}", "[".repeat(8_000));
        assert_eq!(check(&text), Err(Unreadable::OpenString(Pos { line: 1, column: 9 })));
        assert_eq!(
            check("{\n a(x: \"b\n\") }"),
            Err(Unreadable::OpenString(Pos { line: 2, column: 7 }))
        );
    }
}
