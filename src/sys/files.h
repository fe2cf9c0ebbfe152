// Files: reading at an offset with every failure a typed error that names the path, and writing so
// that a reader finds the old content or the new one, whole, whatever happens in between.
// (The header is not named file.h: on the include path it would hide the system's <sys/file.h>.)
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace conclave::sys {

// The calls that change a disk, as a seam for fault injection. Each behaves as the system call of
// the same name: -1 and errno on failure. Tests derive from it and fail the n-th call.
class FileOps {
 public:
  virtual ~FileOps() = default;
  virtual int open(const char* path, int flags, mode_t mode);
  virtual ssize_t write(int fd, const void* data, std::size_t bytes);
  virtual int fsync(int fd);
  virtual int close(int fd);
  virtual int rename(const char* from, const char* to);
  // Swaps two names in one step (renameat2 with RENAME_EXCHANGE); EINVAL or ENOSYS where the file
  // system cannot.
  virtual int exchange(const char* one, const char* other);
  virtual int unlink(const char* path);
  virtual int mkdir(const char* path, mode_t mode);
};
// The real calls; shared and without state.
FileOps& real_file_ops();

// A regular file open for reading. Moves, does not copy. Safe to use from several threads.
class File {
 public:
  // Throws Error: kNotFound; kInvalidArgument for a directory, pipe or device; kIo where the system
  // refuses (permission, descriptors).
  explicit File(std::string path);
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  // Bytes when the file was opened.
  std::uint64_t size() const { return size_; }
  int fd() const { return fd_; }

  // Fills `out` from `offset`. Throws Error(kBadFile) where the file ends before (it was cut while
  // open, or `offset` is wrong), Error(kIo) on a read error. Short reads and EINTR are retried.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string path_;
  std::uint64_t size_ = 0;
  int fd_ = -1;
};

// The whole content. Throws as File does, and Error(kBadFile) above `max_bytes`, before reading.
std::string read_file(const std::string& path, std::uint64_t max_bytes);

bool file_exists(const std::string& path);
bool directory_exists(const std::string& path);
// Names (not paths) in a directory, sorted; without "." and "..". Throws Error(kNotFound), (kIo).
std::vector<std::string> list_directory(const std::string& path);
// mkdir -p. Throws Error(kIo).
void make_directories(const std::string& path, FileOps& ops = real_file_ops());
// Flushes a directory's entries, or a file's content, to the disk. Throws Error(kIo).
void sync_path(const std::string& path, FileOps& ops = real_file_ops());
// "a/b" from "a" and "b"; "b" where `directory` is empty.
std::string join_path(std::string_view directory, std::string_view name);
// "." for a name without a slash.
std::string parent_path(std::string_view path);
std::string base_name(std::string_view path);

// Writes a file under a temporary name in the directory of `path`; commit() flushes it, puts it in
// place and flushes the directory. Until then, and on any failure (disk full, read-only, I/O
// error), the old file stays as it was and the temporary one is removed. Every failure is an
// Error(kIo) with path and reason. Where only the last flush (of the directory) fails, the new file
// is already in place, whole, and the Error says that a power cut may still undo it. A link is
// replaced, not what it points to; what is or points to a directory, device or pipe is refused.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path, FileOps& ops = real_file_ops());
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  std::uint64_t bytes_written() const { return written_; }
  void commit();

 private:
  void write_out(const std::byte* data, std::size_t bytes);
  void flush();
  void discard() noexcept;
  [[noreturn]] void fail_io(const char* what, int error_number);

  std::string path_;
  std::string temporary_;
  FileOps* ops_;
  std::vector<std::byte> buffer_;
  std::uint64_t written_ = 0;
  int fd_ = -1;
};

void write_file_atomically(const std::string& path, std::string_view content,
                           FileOps& ops = real_file_ops());
void write_file_atomically(const std::string& path, std::span<const std::byte> content,
                           FileOps& ops = real_file_ops());
void write_file_atomically(const std::string& path, const std::function<void(AtomicFile&)>& write,
                           FileOps& ops = real_file_ops());

// Locks a directory for one process (flock) until destruction; the system frees it when the process
// dies. Throws Error(kIo) where another holds it, saying `purpose`. A file system without locks
// gives none, silently.
class DirectoryLock {
 public:
  DirectoryLock(const std::string& directory, std::string_view purpose);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int fd_ = -1;
};

// True for the names that AtomicFile gives its temporary files ("." name ".tmp-" pid "-" number).
bool is_temporary_name(std::string_view name);

}  // namespace conclave::sys
