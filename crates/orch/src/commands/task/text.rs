//! Text and files that come with a task.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Kind, Result, UserError};

/// Longest description, bytes.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;

/// The description that was given as text, by '-' on standard input, or as a file.
///
/// # Errors
/// It cannot be read, is too long or is not text.
pub fn description(text: Option<&str>, file: Option<&Path>) -> Result<Option<String>> {
    match (text, file) {
        (Some(text), _) => given(text, "description").map(Some),
        (None, Some(path)) => from_file(path).map(Some),
        (None, None) => Ok(None),
    }
}

/// A text as it was given; '-' stands for standard input.
///
/// # Errors
/// Standard input cannot be read, is too long or is not text.
pub fn given(text: &str, field: &str) -> Result<String> {
    match text {
        "-" => limited(io::stdin().lock(), "standard input", field),
        text => Ok(text.to_owned()),
    }
}

fn from_file(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    check_regular(path)?;
    let file =
        File::open(path).map_err(|error| UserError::io(&format!("cannot open {name}"), &error))?;
    limited(file, &name, "description")
}

fn limited(from: impl Read, name: &str, field: &str) -> Result<String> {
    let mut bytes = Vec::new();
    from.take(DESCRIPTION_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| UserError::io(&format!("cannot read {name}"), &error))?;
    if bytes.len() as u64 > DESCRIPTION_BYTES_MAX {
        let message = format!("the {field} in {name} is longer than {DESCRIPTION_BYTES_MAX} bytes");
        let mut error = UserError::new(Kind::Limit, "too_long", message)
            .hint("attach the file with '--attach' and say in a few words what to do with it");
        error.details.field = Some(field.to_owned());
        error.details.limit = Some(DESCRIPTION_BYTES_MAX.to_string());
        return Err(error);
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        UserError::usage(
            "not_utf8",
            format!("{name} is not UTF-8 text, from byte {at} on"),
        )
    })
}

/// The files given along, as absolute paths.
///
/// # Errors
/// One of them is not there or not a regular file.
pub fn attachments(paths: &[PathBuf]) -> Result<Vec<String>> {
    paths.iter().map(|path| attachment(path)).collect()
}

fn attachment(path: &Path) -> Result<String> {
    check_regular(path)?;
    let name = path.display().to_string();
    let absolute = std::path::absolute(path)
        .map_err(|error| UserError::io(&format!("cannot tell where {name} is"), &error))?;
    absolute.into_os_string().into_string().map_err(|_| {
        let message = format!("the path {name} is not UTF-8 and cannot be told to an agent");
        UserError::usage("not_utf8", message)
    })
}

/// Nothing that blocks, never ends, or points elsewhere.
fn check_regular(path: &Path) -> Result<()> {
    let name = path.display().to_string();
    let found = path
        .symlink_metadata()
        .map_err(|error| UserError::io(&format!("cannot read {name}"), &error))?;
    let kind = found.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else {
        "a device, pipe or socket"
    };
    let message = format!("{name} is {what}, not a regular file");
    Err(UserError::usage("not_a_regular_file", message)
        .hint("name the file itself, or copy it to a file first"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refused(path: &Path) -> (String, u8) {
        let error = attachments(&[path.to_owned()]).expect_err("refused");
        (error.code.clone(), crate::exit::of(error.kind))
    }

    #[test]
    fn only_regular_files_are_attached() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.txt");
        std::fs::write(&file, "a").unwrap();
        let link = directory.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(
            attachments(std::slice::from_ref(&file)).unwrap(),
            [file.to_str().unwrap()]
        );
        for not in [directory.path(), &link, Path::new("/dev/null")] {
            assert_eq!(
                refused(not),
                ("not_a_regular_file".to_owned(), 2),
                "{not:?}"
            );
        }
        assert_eq!(
            refused(Path::new("/nonexistent/x")),
            ("not_found".to_owned(), 3)
        );
    }

    #[test]
    fn a_description_has_a_limit_and_is_text() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("brief");
        std::fs::write(&file, vec![b'x'; (DESCRIPTION_BYTES_MAX + 1) as usize]).unwrap();
        let error = description(None, Some(&file)).expect_err("too long");
        assert_eq!((error.code.as_str(), error.kind), ("too_long", Kind::Limit));
        std::fs::write(&file, b"ab\xff").unwrap();
        let error = description(None, Some(&file)).expect_err("not text");
        assert!(error.message.contains("byte 2"), "{}", error.message);
        std::fs::write(&file, "do it\n").unwrap();
        let read = description(None, Some(&file)).unwrap();
        assert_eq!(read.as_deref(), Some("do it\n"));
    }
}
