//! The FUSE side: answers the kernel's requests from the store.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::store::Store;

/// The kernel must cache nothing, so that data lost in a power cut cannot be read from its memory.
const NOT_CACHED: Duration = Duration::ZERO;

/// The FUSE file system over a [`Store`].
pub(super) struct Fs {
    store: Arc<Store>,
}

type Outcome<T> = Result<T, Errno>;

impl Fs {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Outcome<PathBuf> {
        Ok(self.store.path(parent.0)?.join(name))
    }

    fn attributes(&self, number: u64) -> Outcome<FileAttr> {
        let (metadata, size) = self.store.metadata(number)?;
        let kind = if metadata.is_dir() { FileType::Directory } else { FileType::RegularFile };
        let time = |time: std::io::Result<SystemTime>| time.unwrap_or(UNIX_EPOCH);
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: metadata.blocks(),
            atime: time(metadata.accessed()),
            mtime: time(metadata.modified()),
            ctime: time(metadata.modified()),
            crtime: UNIX_EPOCH,
            kind,
            perm: u16::try_from(metadata.mode() & 0o7777).unwrap_or(0o600),
            nlink: u32::try_from(metadata.nlink()).unwrap_or(1),
            uid: metadata.uid(),
            gid: metadata.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn look_up(&self, parent: INodeNo, name: &OsStr) -> Outcome<FileAttr> {
        let path = self.child(parent, name)?;
        fs::symlink_metadata(&path)?;
        self.attributes(self.store.number(&path))
    }

    fn make(&self, parent: INodeNo, name: &OsStr, directory: bool) -> Outcome<FileAttr> {
        self.may_write()?;
        let path = self.child(parent, name)?;
        if directory {
            fs::create_dir(&path)?;
        } else {
            fs::File::create(&path)?;
        }
        self.attributes(self.store.number(&path))
    }

    fn may_write(&self) -> Outcome<()> {
        let trouble = self.store.trouble();
        if trouble.full {
            return Err(Errno::ENOSPC);
        }
        if trouble.write_fails { Err(Errno::EIO) } else { Ok(()) }
    }

    fn entries(&self, directory: INodeNo) -> Outcome<Vec<(u64, FileType, std::ffi::OsString)>> {
        let path = self.store.path(directory.0)?;
        let mut found = vec![
            (directory.0, FileType::Directory, ".".into()),
            (directory.0, FileType::Directory, "..".into()),
        ];
        let mut items = fs::read_dir(&path)?.collect::<std::io::Result<Vec<_>>>()?;
        items.sort_by_key(std::fs::DirEntry::file_name);
        for item in items {
            let kind = if item.file_type()?.is_dir() { FileType::Directory } else { FileType::RegularFile };
            found.push((self.store.number(&item.path()), kind, item.file_name()));
        }
        Ok(found)
    }
}

fn emptily(reply: ReplyEmpty, outcome: Outcome<()>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Fs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent, name) {
            Ok(attributes) => reply.entry(&NOT_CACHED, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(number.0) {
            Ok(attributes) => reply.attr(&NOT_CACHED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let resized = match size {
            Some(size) => self.may_write().and_then(|()| Ok(self.store.set_len(number.0, size)?)),
            None => Ok(()),
        };
        match resized.and_then(|()| self.attributes(number.0)) {
            Ok(attributes) => reply.attr(&NOT_CACHED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        match self.make(parent, name, true) {
            Ok(attributes) => reply.entry(&NOT_CACHED, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        emptily(reply, self.child(parent, name).and_then(|path| Ok(self.store.remove(&path, false)?)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        emptily(reply, self.child(parent, name).and_then(|path| Ok(self.store.remove(&path, true)?)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.child(parent, name).and_then(|from| {
            let to = self.child(new_parent, new_name)?;
            Ok(self.store.rename(&from, &to)?)
        });
        emptily(reply, renamed);
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.store.file(number.0) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error.into()),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        match self.make(parent, name, false) {
            Ok(attributes) => reply.created(
                &NOT_CACHED,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.store.read(number.0, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.may_write().and_then(|()| Ok(self.store.write(number.0, offset, bytes)?)) {
            Ok(()) => reply.written(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let trouble = self.store.trouble();
        let store = Arc::clone(&self.store);
        let sync = move || {
            std::thread::sleep(Duration::from_millis(trouble.sync_ms));
            emptily(reply, store.sync(number.0, trouble.sync_fails).map_err(Errno::from));
        };
        if trouble.sync_ms == 0 {
            sync();
        } else {
            // A slow sync must not block other requests.
            std::thread::spawn(sync);
        }
    }

    fn readdir(
        &self,
        _: &Request,
        directory: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.entries(directory) {
            Err(error) => reply.error(error),
            Ok(entries) => {
                let rest = (1..).zip(entries).skip(usize::try_from(offset).unwrap_or(usize::MAX));
                for (next, (number, kind, name)) in rest {
                    if reply.add(INodeNo(number), next, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
        }
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let fails = self.store.trouble().sync_fails;
        emptily(reply, if fails { Err(Errno::EIO) } else { Ok(()) });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCKS: u64 = 1 << 20;
        let trouble = self.store.trouble();
        let free = if trouble.full || trouble.nearly_full { 0 } else { BLOCKS / 2 };
        reply.statfs(BLOCKS, free, free, BLOCKS, BLOCKS, 4096, 255, 4096);
    }
}
