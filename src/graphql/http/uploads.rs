//! The GraphQL multipart request (github.com/jaydenseric/graphql-multipart-request-spec): operations with files.
//!
//! Its parts are `operations`, a request as JSON in which null stands for each file; `map`, which says for each file's part
//! what it stands for; and the files, in this order, so that who may not send a file is told before it is read.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::decode::{Decoded, from_body};
use crate::error::Error;

/// How many files a request may have.
pub const MOST_FILES: usize = 4;

/// A multipart request, of which the files are still to come.
#[derive(Debug)]
pub struct Uploads {
    decoded: Decoded,
    /// The parts that are still to come, each with what it stands for.
    awaited: Vec<(String, Vec<Target>)>,
}

/// What a file stands for: the variable of an operation, or something in it.
#[derive(Debug)]
struct Target {
    operation: usize,
    pointer: String,
}

impl Uploads {
    /// Reads `operations` and `map`. `batch` is how many operations a list may hold. Every file is there, and empty.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST`, as for a request without files, and for a map that is none, points at anything but a null in the
    /// variables, or names more than [`MOST_FILES`] files; `QUERY_TOO_COMPLEX` for a list longer than `batch`.
    pub fn read(operations: &[u8], map: &[u8], batch: usize) -> Result<Self, Error> {
        let mut decoded = from_body(operations, batch)?;
        let map: Map<String, Value> =
            serde_json::from_slice(map).map_err(|_| wrong_map("must be a JSON object of lists of paths"))?;
        if map.len() > MOST_FILES {
            return Err(wrong_map(&format!("must name {MOST_FILES} files at most")));
        }
        let mut awaited = Vec::with_capacity(map.len());
        for (part, paths) in map {
            let paths = paths.as_array().filter(|paths| !paths.is_empty());
            let paths = paths.ok_or_else(|| wrong_map("must have a list of paths for each file"))?;
            let mut targets = Vec::with_capacity(paths.len());
            for path in paths {
                let target = path
                    .as_str()
                    .and_then(|path| Target::read(&decoded, path))
                    .ok_or_else(|| wrong_map("points at something that is no null in the variables"))?;
                let files = &mut decoded.requests[target.operation].files;
                if files.iter().any(|(pointer, _)| *pointer == target.pointer) {
                    return Err(wrong_map("points at the same variable twice"));
                }
                files.push((target.pointer.clone(), Bytes::new()));
                targets.push(target);
            }
            awaited.push((part, targets));
        }
        Ok(Self { decoded, awaited })
    }

    /// What is asked for. Files that have not come yet are empty.
    pub fn decoded(&self) -> &Decoded {
        &self.decoded
    }

    /// Whether a part is awaited, before it is read.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST` for a part that the map does not name, or that has come before.
    pub fn check(&self, part: &str) -> Result<(), Error> {
        self.place(part).map(|_| ())
    }

    fn place(&self, part: &str) -> Result<usize, Error> {
        let place = self.awaited.iter().position(|(awaited, _)| awaited == part);
        place.ok_or_else(|| Error::bad_request("", "the map names no such part, or it came twice"))
    }

    /// Puts a file where it belongs.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn put(&mut self, part: &str, file: &Bytes) -> Result<(), Error> {
        let (_, targets) = self.awaited.swap_remove(self.place(part)?);
        for target in targets {
            let files = &mut self.decoded.requests[target.operation].files;
            for (_, bytes) in files.iter_mut().filter(|(pointer, _)| *pointer == target.pointer) {
                bytes.clone_from(file);
            }
        }
        Ok(())
    }

    /// What is asked for, with all its files.
    ///
    /// # Errors
    ///
    /// `BAD_REQUEST` where a file has not come.
    pub fn done(self) -> Result<Decoded, Error> {
        match self.awaited.first() {
            Some(_) => Err(Error::bad_request("", "the map names a part that is not there")),
            None => Ok(self.decoded),
        }
    }
}

impl Target {
    /// `variables.file`, `variables.input.files.0`; with the number of the operation in front in a batch.
    fn read(decoded: &Decoded, path: &str) -> Option<Self> {
        let (operation, path) = match decoded.batch {
            true => {
                let (index, path) = path.split_once('.')?;
                (index.parse().ok()?, path)
            }
            false => (0, path),
        };
        let path = path.strip_prefix("variables.")?;
        let variables = decoded.requests.get(operation)?.variables.as_ref()?;
        let mut names = path.split('.');
        let first = names.next()?;
        let (mut at, mut pointer) = (variables.get(first)?, escaped(first));
        for name in names {
            at = match at {
                Value::Object(members) => members.get(name)?,
                Value::Array(items) => items.get(name.parse::<usize>().ok().filter(|at| at.to_string() == name)?)?,
                _ => return None,
            };
            pointer += &escaped(name);
        }
        at.is_null().then_some(Self { operation, pointer })
    }
}

/// A token of a JSON Pointer.
fn escaped(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn wrong_map(why: &str) -> Error {
    Error::bad_request("/map", format!("map {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(operations: Value, map: Value) -> Result<Uploads, Error> {
        Uploads::read(operations.to_string().as_bytes(), map.to_string().as_bytes(), 10)
    }

    #[test]
    fn files_go_where_the_map_says() {
        let operations = json!([
            { "query": "{a}", "variables": { "x": null } },
            { "query": "{b}", "variables": { "y": { "z/~": [1, null] } } },
        ]);
        let map = json!({ "p": ["0.variables.x", "1.variables.y.z/~.1"] });
        let mut uploads = read(operations, map).unwrap();
        let files = |uploads: &Uploads| -> Vec<_> {
            let requests = uploads.decoded().requests.iter();
            requests.flat_map(|request| request.files.clone()).collect()
        };
        let both = |bytes: &'static [u8]| {
            let bytes = Bytes::from_static(bytes);
            vec![("/x".to_owned(), bytes.clone()), ("/y/z~1~0/1".to_owned(), bytes)]
        };
        assert_eq!(files(&uploads), both(b""));
        uploads.put("p", &Bytes::from_static(b"file")).unwrap();
        assert_eq!(files(&uploads), both(b"file"));
        assert!(uploads.put("p", &Bytes::new()).is_err());
        assert!(uploads.done().unwrap().batch);
    }

    #[test]
    fn a_map_that_points_nowhere_is_refused() {
        let operations = json!({ "query": "{a}", "variables": { "x": null, "y": 1, "l": [null] } });
        for map in [
            json!([]),
            json!(null),
            json!({ "p": "variables.x" }),
            json!({ "p": [] }),
            json!({ "p": [1] }),
            json!({ "p": ["x"] }),
            json!({ "p": ["variables"] }),
            json!({ "p": ["variables.none"] }),
            json!({ "p": ["variables.y"] }),
            json!({ "p": ["variables.x.z"] }),
            json!({ "p": ["variables.l.1"] }),
            json!({ "p": ["variables.l.00"] }),
            json!({ "p": ["0.variables.x"] }),
            json!({ "p": ["query"] }),
            json!({ "p": ["variables.x", "variables.x"] }),
            json!({ "p": ["variables.x"], "q": ["variables.x"] }),
            json!({ "a": ["variables.x"], "b": ["v"], "c": ["v"], "d": ["v"], "e": ["v"] }),
        ] {
            let error = read(operations.clone(), map.clone()).unwrap_err();
            assert_eq!(error.details()["path"], "/map", "{map}");
        }
        assert!(read(operations, json!({ "p": ["variables.l.0"] })).is_ok());
    }

    #[test]
    fn all_files_must_come_and_no_others() {
        let operations = json!({ "query": "{a}", "variables": { "x": null } });
        let mut uploads = read(operations.clone(), json!({ "p": ["variables.x"] })).unwrap();
        assert!(uploads.put("other", &Bytes::new()).is_err());
        assert!(uploads.done().is_err());
        assert!(read(operations, json!({})).unwrap().done().is_ok());
    }
}
