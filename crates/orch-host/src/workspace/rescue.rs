//! Work that no branch leads to: kept under `refs/orch/rescue/<task>/<n>`, listed, given back.
//!
//! Each ref is an annotated tag: its message says why, its date since when. So a rescue tells its
//! own story wherever the repository goes, and no file beside it can be lost. Refs of earlier
//! versions, which are the commits themselves, are listed too; when they were made nobody knows.

use orch_core::{TaskId, Timestamp};

use super::{Result, WorkspaceError, Workspaces, shown};
use crate::failpoint::{self, Point};
use crate::git::{BranchName, Oid, RefName, RefUpdate, split_nul};

const PREFIX: &str = "refs/orch/rescue";

/// How many refs have their commits counted: each takes a call of git.
const COUNTED: usize = 100;

/// Work that is kept by a ref of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// Its name for people, like `tsk_7m3k….1`.
    pub id: String,
    /// The ref.
    pub reference: RefName,
    /// The commit it leads to.
    pub commit: Oid,
    /// Why it is kept, one line; empty where nobody said.
    pub why: String,
    /// Since when it is kept; `None` where nobody said.
    pub at: Option<Timestamp>,
    /// Its commits that the target branch does not have, if they were counted.
    pub commits: Option<u64>,
    /// What the ref itself names.
    object: Oid,
}

impl Rescued {
    /// Whose it is.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.id.split_once('.')?.0.parse().ok()
    }
}

/// One commit of rescued work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub oid: String,
    /// When it was made.
    pub at: Timestamp,
    /// The first line of its message.
    pub subject: String,
}

/// One file that rescued work changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path from the top of the repository.
    pub path: String,
}

/// What is in rescued work, compared with the target branch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// Its newest commits, newest first.
    pub commits: Vec<Commit>,
    /// The files it changes since it parted from the target branch.
    pub files: Vec<Change>,
}

impl Workspaces {
    /// Everything that is kept by a rescue ref, oldest first; what has no date comes last.
    ///
    /// # Errors
    /// Git failed.
    pub fn rescued(&self) -> Result<Vec<Rescued>> {
        let format = "%(refname)%00%(objectname)%00%(*objectname)%00%(taggerdate:unix)%00\
                      %(contents:subject)%00";
        let output = self
            .repository
            .call(["for-each-ref", &format!("--format={format}"), PREFIX])
            .succeed()?;
        let mut found: Vec<Rescued> = output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter_map(read_line)
            .collect();
        found.sort_by_key(|it| (it.at.is_none(), it.at, it.id.clone()));
        self.count_rescued(&mut found)?;
        Ok(found)
    }

    fn count_rescued(&self, found: &mut [Rescued]) -> Result<()> {
        let Some(target) = self.repository.branch_tip(&self.target)? else {
            return Ok(());
        };
        for it in found.iter_mut().rev().take(COUNTED) {
            it.commits = self.repository.count_commits(&target, &it.commit).ok();
        }
        Ok(())
    }

    /// One piece of rescued work by its name.
    ///
    /// # Errors
    /// There is none, or git failed.
    pub fn find_rescued(&self, id: &str) -> Result<Rescued> {
        let found = self.rescued()?.into_iter().find(|it| it.id == id);
        found.ok_or_else(|| WorkspaceError::NotRescued(orch_core::text::excerpt(id, 60)))
    }

    /// What is in rescued work, at most `limit` commits.
    ///
    /// # Errors
    /// Git failed.
    pub fn contents(&self, rescued: &Rescued, limit: usize) -> Result<Contents> {
        let tip = &rescued.commit;
        let target = self.repository.branch_tip(&self.target)?;
        let base = match &target {
            Some(target) => self.repository.merge_base(target, tip)?,
            None => None,
        };
        let base = match base {
            Some(base) => base,
            None => self.empty_tree()?,
        };
        let files = self.repository.changed_paths(&base, tip)?;
        let files = files.iter().map(|path| Change { path: shown(path) });
        Ok(Contents {
            commits: self.log(tip, target.as_ref(), limit)?,
            files: files.collect(),
        })
    }

    fn log(&self, tip: &Oid, without: Option<&Oid>, limit: usize) -> Result<Vec<Commit>> {
        let most = format!("--max-count={limit}");
        let mut call = self
            .repository
            .call(["log", "-z", "--no-decorate", "--format=%H %ct %s", &most])
            .argument(tip.as_str());
        if let Some(without) = without {
            call = call.argument(format!("^{without}"));
        }
        let output = call.argument("--").succeed()?;
        Ok(split_nul(&output.stdout)
            .iter()
            .filter_map(|line| {
                let text = shown(line);
                let mut fields = text.splitn(3, ' ');
                Some(Commit {
                    oid: fields.next()?.to_owned(),
                    at: seconds(fields.next()?)?,
                    subject: fields.next().unwrap_or_default().to_owned(),
                })
            })
            .collect())
    }

    /// Makes a branch of rescued work. The rescue stays as it is.
    ///
    /// # Errors
    /// The branch exists already (unless it stands at this very commit), or git failed.
    pub fn restore_rescued(&self, rescued: &Rescued, branch: &BranchName) -> Result<()> {
        let update = RefUpdate {
            name: branch.reference(),
            old: None,
            new: Some(rescued.commit.clone()),
        };
        if self.repository.update_refs(&[update], "restored")?.is_ok()
            || self.repository.branch_tip(branch)?.as_ref() == Some(&rescued.commit)
        {
            return Ok(());
        }
        Err(WorkspaceError::BranchTaken(branch.clone()))
    }

    /// Lets go of rescued work. Git removes commits that nothing else leads to when it tidies up.
    ///
    /// # Errors
    /// The ref was moved meanwhile, its number cannot be noted, or git failed.
    pub fn drop_rescued(&self, rescued: &Rescued) -> Result<()> {
        let number = rescued.id.rsplit_once('.');
        if let Some(number) = number.and_then(|(_, number)| number.parse().ok()) {
            self.trash().note_dropped(number)?;
        }
        let update = RefUpdate {
            name: rescued.reference.clone(),
            old: Some(rescued.object.clone()),
            new: None,
        };
        match self.repository.update_refs(&[update], "given up")? {
            Ok(()) => Ok(()),
            Err(_) => Err(WorkspaceError::NotRescued(rescued.id.clone())),
        }
    }

    /// Makes `commit` reachable. Returns the new ref, or `None` if some ref led to it already.
    pub(super) fn rescue(&self, task: &TaskId, commit: &Oid, why: &str) -> Result<Option<RefName>> {
        if self.repository.is_reachable(commit)? {
            return Ok(None);
        }
        self.rescue_always(task, commit, why).map(Some)
    }

    /// Gives `commit` a rescue ref of its own unless it has one.
    pub(super) fn rescue_always(&self, task: &TaskId, commit: &Oid, why: &str) -> Result<RefName> {
        let prefix = format!("{PREFIX}/{task}/");
        let mut tag = None;
        loop {
            let all = self.rescued_refs(task)?;
            if let Some(kept) = all.iter().find(|kept| kept.commit == *commit) {
                return Ok(kept.reference.clone());
            }
            let numbers = all
                .iter()
                .filter_map(|it| it.reference.as_str().strip_prefix(&prefix))
                .filter_map(|rest| rest.parse::<u64>().ok());
            let highest = numbers.fold(self.trash().last_dropped(), u64::max);
            let number = highest.saturating_add(1);
            let name = format!("{prefix}{number}").parse::<RefName>()?;
            let object = match &tag {
                Some(tag) => tag,
                None => tag.insert(self.write_tag(task, commit, why)?),
            };
            let update = RefUpdate {
                name: name.clone(),
                old: None,
                new: Some(Oid::clone(object)),
            };
            if self.repository.update_refs(&[update], "rescue")?.is_ok() {
                failpoint::hit(Point::WorkRescued);
                return Ok(name);
            }
        }
    }

    fn rescued_refs(&self, task: &TaskId) -> Result<Vec<Rescued>> {
        let format = "%(refname)%00%(objectname)%00%(*objectname)%00%00%00";
        let prefix = format!("{PREFIX}/{task}");
        let output = self
            .repository
            .call(["for-each-ref", &format!("--format={format}"), &prefix])
            .succeed()?;
        let lines = output.stdout.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(read_line).collect())
    }

    /// The tag that says why and since when a commit is kept.
    fn write_tag(&self, task: &TaskId, commit: &Oid, why: &str) -> Result<Oid> {
        let seconds = self.trash().stamp().0.div_euclid(1_000).max(0);
        let text = format!(
            "object {commit}\ntype commit\ntag {task}\ntagger orch <orch@localhost> {seconds} \
             +0000\n\n{why}\n"
        );
        Ok(self
            .repository
            .call(["mktag"])
            .input(text)
            .line()?
            .parse()?)
    }
}

/// One line of the listing above.
fn read_line(line: &[u8]) -> Option<Rescued> {
    let text = shown(line);
    let mut fields = text.split('\0');
    let mut next = || fields.next().unwrap_or_default();
    let (name, object, peeled, date, why) = (next(), next(), next(), next(), next());
    let object: Oid = object.parse().ok()?;
    Some(Rescued {
        id: name
            .strip_prefix(PREFIX)?
            .trim_start_matches('/')
            .replace('/', "."),
        reference: name.parse().ok()?,
        commit: if peeled.is_empty() {
            object.clone()
        } else {
            peeled.parse().ok()?
        },
        at: seconds(date),
        // The subject of a plain commit is its author's and says nothing about the rescue.
        why: if peeled.is_empty() { "" } else { why }.to_owned(),
        commits: None,
        object,
    })
}

fn seconds(text: &str) -> Option<Timestamp> {
    let seconds: i64 = text.parse().ok()?;
    Some(Timestamp(seconds.checked_mul(1_000)?))
}
