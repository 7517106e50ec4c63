//! The native program behind an npm wrapper.
//!
//! Some agents are native programs that npm installs beside a small script, and the script only
//! starts the program and waits. A signal to the script alone leaves the program at work, and
//! ending the script does not end the run. So the program itself is what should be started.
//!
//! This part must not start anything: it knows where such programs lie.

use std::path::{Path, PathBuf};

/// How one agent's packages lie below `node_modules`.
struct Package {
    /// The script that the command is a link to.
    script: &'static str,
    /// The programs that it starts, the first that is there; `{arch}` and `{machine}` stand for
    /// the processor as npm and as compilers call it.
    programs: &'static [&'static str],
}

const PACKAGES: &[Package] = &[
    Package {
        script: "@github/copilot/npm-loader.js",
        programs: &[
            "@github/copilot-linux-{arch}/copilot",
            "@github/copilot-linuxmusl-{arch}/copilot",
            "@github/copilot-darwin-{arch}/copilot",
        ],
    },
    Package {
        script: "@openai/codex/bin/codex.js",
        programs: &[
            "@openai/codex-linux-{arch}/vendor/{machine}-unknown-linux-musl/bin/codex",
            "@openai/codex-darwin-{arch}/vendor/{machine}-apple-darwin/bin/codex",
        ],
    },
];

/// The native program that `program` would start, if `program` is, or links to, the script of a
/// known package and the native one is installed with it. For anything else `None`: then
/// `program` itself is what should be started.
#[must_use]
pub fn native(program: &Path) -> Option<PathBuf> {
    let script = program.canonicalize().ok()?;
    let package = PACKAGES.iter().find(|it| script.ends_with(it.script))?;
    let depth = Path::new(package.script).components().count();
    let modules = script.ancestors().nth(depth)?;
    // npm puts it beside the script's package, or below that if versions differ.
    let scope: PathBuf = Path::new(package.script).components().take(2).collect();
    let places = [modules.join(scope).join("node_modules"), modules.to_owned()];
    let programs = package.programs.iter().map(|it| here(it));
    let programs: Vec<String> = programs.collect();
    let mut candidates = places
        .iter()
        .flat_map(|place| programs.iter().map(|it| place.join(it)));
    candidates.find(|path| super::program::is_executable(path))
}

/// The path for this machine's processor.
fn here(path: &str) -> String {
    let machine = std::env::consts::ARCH;
    let arch = match machine {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    path.replace("{arch}", arch).replace("{machine}", machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn put(path: &Path, mode: u32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A tree as `npm install` makes it; the command in its `bin`.
    fn installed(root: &Path, command: &str, script: &str) -> PathBuf {
        let script = root.join("lib/node_modules").join(script);
        put(&script, 0o755);
        std::fs::create_dir_all(root.join("bin")).unwrap();
        let link = root.join("bin").join(command);
        symlink(&script, &link).unwrap();
        link
    }

    #[test]
    fn a_wrapper_is_seen_through_by_its_link() {
        let cases = [
            ("copilot", PACKAGES[0].script, PACKAGES[0].programs[0]),
            ("codex", PACKAGES[1].script, PACKAGES[1].programs[0]),
        ];
        for (command, script, program) in cases {
            let root = tempfile::tempdir().unwrap();
            let root = root.path().canonicalize().unwrap();
            let link = installed(&root, command, script);
            assert_eq!(native(&link), None, "the native one is not there");
            let beside = root.join("lib/node_modules").join(here(program));
            put(&beside, 0o644);
            assert_eq!(native(&link), None, "it cannot be executed");
            put(&beside, 0o755);
            assert_eq!(native(&link), Some(beside));
            // What was installed for this very package is meant before what lies beside it.
            let (scope, name) = script.split_once('/').unwrap();
            let own = name.split_once('/').unwrap().0;
            let inner = root.join("lib/node_modules").join(scope).join(own);
            let inner = inner.join("node_modules").join(here(program));
            put(&inner, 0o755);
            assert_eq!(native(&link), Some(inner));
        }
    }

    #[test]
    fn anything_else_is_started_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let link = installed(root.path(), "gemini", "@google/gemini-cli/bundle/gemini.js");
        assert_eq!(native(&link), None);
        let plain = root.path().join("copilot");
        put(&plain, 0o755);
        assert_eq!(native(&plain), None);
        assert_eq!(native(&root.path().join("missing")), None);
    }
}
