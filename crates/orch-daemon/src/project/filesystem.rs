//! Which file systems are shared with other machines. SQLite's shared memory and `flock` say
//! nothing about what another host does to the same files.
//!
//! Only Linux is asked; elsewhere the answer is always "local".

use std::path::Path;

/// The name of the network file system that `path` is on, `None` when it is on a local one.
#[cfg(target_os = "linux")]
pub(super) fn network_kind(path: &Path) -> Option<String> {
    // The width and sign of the field differ between architectures; magic numbers are 32 bits wide.
    let magic = rustix::fs::statfs(path).ok()?.f_type as u32;
    if magic == FUSE {
        return network_fuse(path);
    }
    NETWORK
        .iter()
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| (*name).to_owned())
}

/// Elsewhere every file system counts as local.
#[cfg(not(target_os = "linux"))]
pub(super) fn network_kind(_path: &Path) -> Option<String> {
    None
}

/// The magic numbers `statfs` gives for file systems that other hosts use as well. 9P is not
/// among them: it is how virtual machines and sandboxes see the disk of their own host.
const NETWORK: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x7375_7245, "Coda"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x564c, "NCP"),
];

/// Everything in user space has this one number.
const FUSE: u32 = 0x6573_5546;

/// What in user space is known to speak to another machine. An encrypted or merged local disk
/// is FUSE as well and is fine.
const NETWORK_FUSE: &[&str] = &[
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.davfs",
    "fuse.davfs2",
    "fuse.glusterfs",
    "fuse.gcsfuse",
    "fuse.ceph",
    "fuse.juicefs",
    "fuse.blobfuse",
    "fuse.blobfuse2",
    "fuse.mount-s3",
    "fuse.curlftpfs",
    "fuse.smbnetfs",
    "fuse.seaweedfs",
    "fuse.moosefs",
    "fuse.beegfs",
];

fn network_fuse(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let device = path.metadata().ok()?.dev();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let kind = filesystem_of(&mounts, &format!("{major}:{minor}"))?;
    NETWORK_FUSE.contains(&kind).then(|| kind.to_owned())
}

/// The file system type of the device `major:minor`, from the text of `/proc/self/mountinfo`.
fn filesystem_of<'a>(mounts: &'a str, device: &str) -> Option<&'a str> {
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(device))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_mount_is_found_by_its_device() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            60 22 0:54 / /mnt/my\\040host rw,nosuid shared:3 master:1 - fuse.sshfs me@host: rw\n";
        assert_eq!(filesystem_of(mounts, "0:54"), Some("fuse.sshfs"));
        assert_eq!(filesystem_of(mounts, "8:1"), Some("ext4"));
        assert_eq!(filesystem_of(mounts, "8:2"), None);
    }

    #[test]
    fn a_temporary_directory_is_local() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(network_kind(directory.path()), None);
    }
}
