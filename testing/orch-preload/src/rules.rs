//! What is to fail: one rule a line, `CALL FAULT PART`.
//!
//! CALL is `sync`, `write` or `read`. PART is a part of the path of the file. FAULT is one of
//! `eio` (always), `eio-once` (the first time in each process), `eio-every:N`, `eintr-every:N`,
//! `short-every:N` (half of what was asked for) and `slow:MS`.

/// What kind of call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Making bytes durable.
    Sync,
    /// Writing bytes.
    Write,
    /// Reading bytes.
    Read,
}

/// What is done to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails with EIO.
    Io,
    /// It fails with EINTR.
    Interrupted,
    /// It does half of what was asked for.
    Short,
    /// It takes so many milliseconds longer.
    Slow(u64),
}

/// The fault that the rules have for a call on a file, if any. `turn` counts the calls on files
/// that a rule names, from 1.
pub(crate) fn fault(rules: &str, call: Call, path: &str, turn: impl Fn() -> u64) -> Option<Fault> {
    let word = match call {
        Call::Sync => "sync",
        Call::Write => "write",
        Call::Read => "read",
    };
    let fault = rules.lines().find_map(|line| {
        let mut words = line.splitn(3, ' ');
        let matches = words.next() == Some(word);
        let fault = words.next()?;
        (matches && path.contains(words.next()?)).then_some(fault)
    })?;
    let (name, number) = fault.split_once(':').unwrap_or((fault, "1"));
    let number = number.parse().unwrap_or(1).max(1);
    let due = |every: u64| turn().is_multiple_of(every);
    match name {
        "eio" => Some(Fault::Io),
        "eio-once" => (turn() == 1).then_some(Fault::Io),
        "eio-every" => due(number).then_some(Fault::Io),
        "eintr-every" => due(number).then_some(Fault::Interrupted),
        "short-every" => due(number).then_some(Fault::Short),
        "slow" => Some(Fault::Slow(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_for_one_kind_of_call_and_for_some_files() {
        let rules = "sync eio orch.db-wal\nwrite short-every:2 /runs/\n";
        let fault = |call, path, turn| fault(rules, call, path, || turn);
        assert_eq!(fault(Call::Sync, "/p/orch.db-wal", 1), Some(Fault::Io));
        assert_eq!(fault(Call::Sync, "/p/orch.db", 1), None);
        assert_eq!(fault(Call::Write, "/p/runs/x", 1), None);
        assert_eq!(fault(Call::Write, "/p/runs/x", 2), Some(Fault::Short));
        assert_eq!(fault(Call::Read, "/p/runs/x", 2), None);
    }

    #[test]
    fn a_fault_comes_once_or_always_or_takes_its_time() {
        let of = |rule: &str, turn| fault(rule, Call::Sync, "/f", || turn);
        assert_eq!(of("sync eio-once f", 1), Some(Fault::Io));
        assert_eq!(of("sync eio-once f", 2), None);
        assert_eq!(of("sync eintr-every:3 f", 3), Some(Fault::Interrupted));
        assert_eq!(of("sync slow:250 f", 9), Some(Fault::Slow(250)));
        assert_eq!(of("sync nonsense f", 1), None);
    }
}
