// Writing half of files.h: the seam of system calls, and AtomicFile.
//
// A temporary file is locked (flock) while it is written. The lock dies with the process, so the
// next writer of the same name can tell what a killed one left from what a living one writes.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "sys/files.h"

namespace conclave::sys {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;  // a few hundred microseconds of disk time
constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;
constexpr std::string_view kMark = ".tmp-";
// NAME_MAX is 255; the mark, a process id and a number need up to 30.
constexpr std::size_t kMaxStem = 200;

std::string reason(int error_number) { return std::system_category().message(error_number); }

std::string temporary_stem(const std::string& path) {
  return "." + base_name(path).substr(0, kMaxStem) + std::string(kMark);
}

// A device or a pipe would be replaced by a file for everybody who uses it; so would /dev/stdout,
// which is a link.
void refuse_what_is_no_file(const std::string& path) {
  struct stat status;
  const bool other = ::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode);
  if (!other && parent_path(path) != "/dev") return;
  fail(ErrorKind::kIo, "{}: is {}; only a file can be replaced", path,
       other && S_ISDIR(status.st_mode) ? "a directory" : "a device, a pipe or the like");
}

// What a killed writer of the same file left: temporary files that nobody holds locked.
void remove_orphans(const std::string& directory, const std::string& stem, FileOps& ops) {
  if (!directory_exists(directory)) return;
  for (const std::string& name : list_directory(directory)) {
    if (!name.starts_with(stem)) continue;
    const std::string path = join_path(directory, name);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) ops.unlink(path.c_str());
    ::close(fd);
  }
}

// False where an orphan hunter took the file between its creation and the lock.
bool lock_new_file(int fd) {
  ::flock(fd, LOCK_EX | LOCK_NB);  // a file system without locks loses only the hunt for orphans
  struct stat status;
  return ::fstat(fd, &status) != 0 || status.st_nlink > 0;
}

}  // namespace

int FileOps::open(const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); }
ssize_t FileOps::write(int fd, const void* data, std::size_t bytes) {
  return ::write(fd, data, bytes);
}
int FileOps::fsync(int fd) { return ::fsync(fd); }
int FileOps::close(int fd) { return ::close(fd); }
int FileOps::rename(const char* from, const char* to) { return ::rename(from, to); }
int FileOps::exchange(const char* one, const char* other) {
  return ::renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE);
}
int FileOps::unlink(const char* path) { return ::unlink(path); }
int FileOps::mkdir(const char* path, mode_t mode) { return ::mkdir(path, mode); }

FileOps& real_file_ops() {
  static FileOps ops;
  return ops;
}

DirectoryLock::DirectoryLock(const std::string& directory, std::string_view purpose) {
  fd_ = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) fail(ErrorKind::kIo, "{}: cannot open: {}", directory, reason(errno));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(fd_);
    fd_ = -1;
    fail(ErrorKind::kIo, "{}: another process is {} there; wait for it or choose another directory",
         directory, purpose);
  }
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

bool is_temporary_name(std::string_view name) {
  return name.starts_with('.') && name.find(kMark) != std::string_view::npos;
}

AtomicFile::AtomicFile(std::string path, FileOps& ops) : path_(std::move(path)), ops_(&ops) {
  if (path_.empty() || path_.back() == '/' || path_.find('\0') != std::string::npos) {
    fail(ErrorKind::kInvalidArgument, "'{}' is no name for a file", path_.c_str());
  }
  refuse_what_is_no_file(path_);
  const std::string directory = parent_path(path_);
  const std::string stem = temporary_stem(path_);
  remove_orphans(directory, stem, ops);
  for (int number = 0; fd_ < 0; ++number) {
    temporary_ = join_path(directory, fmt::format("{}{}-{}", stem, ::getpid(), number));
    fd_ = ops_->open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ >= 0 && !lock_new_file(fd_)) {
      ops_->close(fd_);
      fd_ = -1;
    } else if (fd_ < 0 && (errno != EEXIST || number > 1000)) {
      const int error_number = errno;
      temporary_.clear();
      fail_io("cannot create a temporary file beside it", error_number);
    }
  }
  buffer_.reserve(kBufferBytes);
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (fd_ >= 0) ops_->close(fd_);
  fd_ = -1;
  if (!temporary_.empty()) ops_->unlink(temporary_.c_str());
  temporary_.clear();
}

void AtomicFile::fail_io(const char* what, int error_number) {
  discard();
  fail(ErrorKind::kIo, "{}: {}: {}", path_, what, reason(error_number));
}

void AtomicFile::write_out(const std::byte* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t put = ops_->write(fd_, data, std::min(bytes, kMaxTransfer));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_io("cannot write", errno);
    if (put == 0) fail_io("cannot write", ENOSPC);  // a disk that takes nothing and says nothing
    data += put;
    bytes -= static_cast<std::size_t>(put);
  }
}

void AtomicFile::flush() {
  write_out(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  CONCLAVE_CHECK(fd_ >= 0, "{}: written after commit or failure", path_);
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() >= kBufferBytes) {
    write_out(bytes.data(), bytes.size());
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  written_ += bytes.size();
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  CONCLAVE_CHECK(fd_ >= 0, "{}: committed twice or after a failure", path_);
  flush();
  int result;
  do {
    result = ops_->fsync(fd_);
  } while (result != 0 && errno == EINTR);
  // A failed fsync is not tried again: the kernel may have dropped the pages it could not write.
  if (result != 0) fail_io("cannot flush to the disk", errno);
  result = ops_->close(fd_);
  fd_ = -1;
  if (result != 0 && errno != EINTR) fail_io("cannot close", errno);
  if (ops_->rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail_io("cannot put the new file in place", errno);
  }
  temporary_.clear();
  with_context(path_ + ": is in place, but a power cut may undo it",
               [&] { sync_path(parent_path(path_), *ops_); });
}

void write_file_atomically(const std::string& path, std::string_view content, FileOps& ops) {
  write_file_atomically(path, std::as_bytes(std::span(content)), ops);
}

void write_file_atomically(const std::string& path, std::span<const std::byte> content,
                           FileOps& ops) {
  write_file_atomically(
      path, [&](AtomicFile& file) { file.write(content); }, ops);
}

void write_file_atomically(const std::string& path, const std::function<void(AtomicFile&)>& write,
                           FileOps& ops) {
  AtomicFile file(path, ops);
  write(file);
  file.commit();
}

}  // namespace conclave::sys
