#include "sys/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

namespace conclave::sys {
namespace {

// One pread of more than 2 GiB is cut by Linux anyway.
constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;

std::string reason(int error_number) { return std::system_category().message(error_number); }

// A path with a NUL inside would silently name another file.
void check_path(const std::string& path) {
  if (path.empty()) fail(ErrorKind::kInvalidArgument, "an empty file name");
  if (path.find('\0') != std::string::npos) {
    fail(ErrorKind::kInvalidArgument, "a file name with a NUL byte: '{}'", path.c_str());
  }
}

[[noreturn]] void fail_open(const std::string& path, int error_number) {
  if (error_number == ENOENT || error_number == ENOTDIR) {
    fail(ErrorKind::kNotFound, "{}: no such file", path);
  }
  fail(ErrorKind::kIo, "{}: cannot open: {}", path, reason(error_number));
}

}  // namespace

File::File(std::string path) : path_(std::move(path)) {
  check_path(path_);
  // O_NONBLOCK: opening a pipe must not wait for a writer that never comes.
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd_ < 0) fail_open(path_, errno);
  struct stat status;
  const int result = ::fstat(fd_, &status);
  const int error_number = errno;
  if (result != 0 || !S_ISREG(status.st_mode)) {
    ::close(fd_);
    fd_ = -1;
    if (result != 0) fail_open(path_, error_number);
    fail(ErrorKind::kInvalidArgument, "{}: is {}, expected a file", path_,
         S_ISDIR(status.st_mode) ? "a directory" : "a pipe or device");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), size_(other.size_), fd_(std::exchange(other.fd_, -1)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    path_ = std::move(other.path_);
    size_ = other.size_;
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void File::read(std::uint64_t offset, std::span<std::byte> out) const {
  constexpr auto kMaxOffset = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
  if (offset > kMaxOffset || out.size() > kMaxOffset - offset) {
    fail(ErrorKind::kBadFile, "{}: offset {} is outside the file of {} bytes", path_, offset,
         size_);
  }
  while (!out.empty()) {
    const ssize_t got =
        ::pread(fd_, out.data(), std::min(out.size(), kMaxTransfer), static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      fail(ErrorKind::kIo, "{}: cannot read at byte {}: {}", path_, offset, reason(errno));
    }
    if (got == 0) {
      fail(ErrorKind::kBadFile, "{}: ends at byte {}, {} bytes too early", path_, offset,
           out.size());
    }
    offset += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

std::string read_file(const std::string& path, std::uint64_t max_bytes) {
  const File file(path);
  if (file.size() > max_bytes) {
    fail(ErrorKind::kBadFile, "{}: holds {} bytes, more than the {} expected of such a file", path,
         file.size(), max_bytes);
  }
  std::string content(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(content)));
  return content;
}

bool file_exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

bool directory_exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

std::vector<std::string> list_directory(const std::string& path) {
  check_path(path);
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(path, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    names.push_back(entry->path().filename().string());
    entry.increment(error);
  }
  if (error == std::errc::no_such_file_or_directory) {
    fail(ErrorKind::kNotFound, "{}: no such directory", path);
  }
  if (error) fail(ErrorKind::kIo, "{}: cannot list: {}", path, error.message());
  std::sort(names.begin(), names.end());
  return names;
}

void make_directories(const std::string& path, FileOps& ops) {
  check_path(path);
  for (std::size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string prefix = path.substr(0, end);
    if (directory_exists(prefix)) continue;
    if (ops.mkdir(prefix.c_str(), 0777) == 0) {
      sync_path(parent_path(prefix), ops);
      continue;
    }
    const int error_number = errno;
    if (!directory_exists(prefix)) {
      fail(ErrorKind::kIo, "{}: cannot make the directory: {}", prefix, reason(error_number));
    }
  }
}

void sync_path(const std::string& path, FileOps& ops) {
  const int fd = ops.open(path.c_str(), O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) fail(ErrorKind::kIo, "{}: cannot open to flush: {}", path, reason(errno));
  int result;
  do {
    result = ops.fsync(fd);
  } while (result != 0 && errno == EINTR);
  const int error_number = errno;
  ::close(fd);  // was opened for reading: nothing can be lost
  // Some file systems cannot flush a directory; they answer EINVAL.
  if (result != 0 && !(error_number == EINVAL && directory_exists(path))) {
    fail(ErrorKind::kIo, "{}: cannot flush to the disk: {}", path, reason(error_number));
  }
}

std::string join_path(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (!path.empty() && path.back() != '/') path += '/';
  path += name;
  return path;
}

std::string parent_path(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, std::max<std::size_t>(slash, 1)));
}

std::string base_name(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

}  // namespace conclave::sys
