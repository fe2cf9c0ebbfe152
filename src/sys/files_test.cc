#include "sys/files.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "sys/testing.h"

namespace conclave::sys {
namespace {

using conclave::testing::FailingDisk;
using conclave::testing::slurp;
using conclave::testing::TempDir;

TEST(File, ReadsAtAnOffset) {
  const TempDir dir;
  const File file(dir.put("a", "0123456789"));
  EXPECT_EQ(file.size(), 10u);
  std::string got(4, ' ');
  file.read(3, std::as_writable_bytes(std::span(got)));
  EXPECT_EQ(got, "3456");
  file.read(10, {});
}

TEST(File, NamesWhatIsWrong) {
  const TempDir dir;
  EXPECT_ERROR(File(dir / "none"), ErrorKind::kNotFound, dir / "none");
  EXPECT_ERROR(File(dir.put("file", "") + "/below"), ErrorKind::kNotFound, "no such file");
  EXPECT_ERROR(File(dir.path()), ErrorKind::kInvalidArgument, "is a directory");
  EXPECT_ERROR(File("/dev/null"), ErrorKind::kInvalidArgument, "pipe or device");
  EXPECT_ERROR(File(""), ErrorKind::kInvalidArgument, "empty file name");
  EXPECT_ERROR(File(dir.put("x", "1") + std::string("\0y", 2)), ErrorKind::kInvalidArgument, "NUL");
  const std::string pipe = dir / "pipe";  // opening must not wait for a writer
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_ERROR(File{pipe}, ErrorKind::kInvalidArgument, "pipe or device");
  if (::geteuid() != 0) {
    const std::string closed = dir.put("closed", "1");
    ::chmod(closed.c_str(), 0);
    EXPECT_ERROR(File{closed}, ErrorKind::kIo, "Permission denied");
  }
}

TEST(File, EndsAreErrors) {
  const TempDir dir;
  const std::string path = dir.put("a", "0123456789");
  const File file(path);
  std::array<std::byte, 4> four;
  EXPECT_ERROR(file.read(7, four), ErrorKind::kBadFile, "ends at byte 10");
  EXPECT_ERROR(file.read(1000, four), ErrorKind::kBadFile, path);
  EXPECT_ERROR(file.read(~0ull, four), ErrorKind::kBadFile, "outside");
  EXPECT_ERROR(file.read(~0ull >> 1, four), ErrorKind::kBadFile, "outside");
  ASSERT_EQ(::truncate(path.c_str(), 2), 0);  // cut while open
  EXPECT_ERROR(file.read(0, four), ErrorKind::kBadFile, "ends at byte 2");
}

TEST(File, WholeFilesAreBounded) {
  const TempDir dir;
  const std::string path = dir.put("a", "0123456789");
  EXPECT_EQ(read_file(path, 10), "0123456789");
  EXPECT_ERROR(read_file(path, 9), ErrorKind::kBadFile, "holds 10 bytes");
  const std::string huge = dir.put("huge", "");
  ASSERT_EQ(::truncate(huge.c_str(), off_t{1} << 40), 0);
  EXPECT_ERROR(read_file(huge, 1 << 20), ErrorKind::kBadFile, huge);
}

TEST(Paths, JoinAndSplit) {
  EXPECT_EQ(join_path("a", "b"), "a/b");
  EXPECT_EQ(join_path("a/", "b"), "a/b");
  EXPECT_EQ(join_path("", "b"), "b");
  EXPECT_EQ(parent_path("b"), ".");
  EXPECT_EQ(parent_path("a/b/"), "a");
  EXPECT_EQ(parent_path("/a"), "/");
  EXPECT_EQ(base_name("x/a/"), "a");
  EXPECT_EQ(base_name("a"), "a");
}

TEST(Paths, DirectoriesAreMadeAndListed) {
  const TempDir dir;
  make_directories(dir / "x/y/z");
  EXPECT_TRUE(directory_exists(dir / "x/y/z"));
  make_directories(dir / "x/y/z");  // once more is no error
  dir.put("x/b", "");
  dir.put("x/a", "");
  EXPECT_EQ(list_directory(dir / "x"), (std::vector<std::string>{"a", "b", "y"}));
  EXPECT_ERROR(list_directory(dir / "none"), ErrorKind::kNotFound, "no such directory");
  EXPECT_ERROR(make_directories(dir / "x/a/q"), ErrorKind::kIo, "x/a");
}

TEST(AtomicFile, ReplacesOnCommitOnly) {
  const TempDir dir;
  const std::string path = dir.put("a", "old");
  {
    AtomicFile file(path);
    file.write("new");
    EXPECT_EQ(slurp(path), "old");
  }
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(list_directory(dir.path()).size(), 1u);
  const std::string large(700'000, 'x');
  write_file_atomically(path, [&](AtomicFile& file) {
    file.write("new");
    file.write(large);
    file.write("end");
    EXPECT_EQ(file.bytes_written(), large.size() + 6);
  });
  EXPECT_EQ(slurp(path), "new" + large + "end");
  EXPECT_EQ(list_directory(dir.path()).size(), 1u);
}

// Every call that can fail fails once, with each error: the old file or the new one is there,
// whole, nothing else is, and the failure is reported.
TEST(AtomicFile, EveryFailureLeavesAWholeFile) {
  const std::string content(600'000, 'n');
  for (const int error_number : {EIO, ENOSPC, EDQUOT, EROFS}) {
    for (int n = 1;; ++n) {
      const TempDir dir;
      const std::string path = dir.put("a", "old");
      FailingDisk disk(n, error_number);
      disk.max_write = 250'000;
      const auto save = [&] {
        write_file_atomically(
            path,
            [&](AtomicFile& file) {
              for (int i = 0; i < 6; ++i) file.write(std::string_view(content).substr(0, 100'000));
            },
            disk);
      };
      try {
        save();
        ASSERT_TRUE(disk.failed_call().empty())
            << "a failing " << disk.failed_call() << " was lost";
        EXPECT_GE(n, 10)
            << "open, 3 writes, fsync, close, rename, and open and fsync of the directory";
        break;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kIo);
        EXPECT_NE(error.message().find(dir.path()), std::string::npos) << error.message();
        EXPECT_NE(error.message().find(std::system_category().message(error_number)),
                  std::string::npos)
            << error.message();
        EXPECT_EQ(slurp(path), disk.renamed() ? content : "old") << disk.failed_call();
        EXPECT_EQ(list_directory(dir.path()).size(), 1u) << disk.failed_call();
      }
    }
  }
}

TEST(AtomicFile, ShortAndInterruptedWritesAreContinued) {
  const TempDir dir;
  FailingDisk disk;
  disk.max_write = 777;
  disk.interrupt = true;
  std::string content(300'001, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 31 + i / 256);
  write_file_atomically(dir / "a", content, disk);
  EXPECT_EQ(slurp(dir / "a"), content);
}

// A real limit of the operating system instead of a pretended one.
TEST(AtomicFile, AFullDiskIsReportedAndTheOldFileStays) {
  const TempDir dir;
  const std::string path = dir.put("a", "old");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {100'000, 100'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file_atomically(path, std::string(200'000, 'n'));
    } catch (const Error& error) {
      ::_exit(error.kind() == ErrorKind::kIo ? 42 : 1);
    }
    ::_exit(2);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_EQ(slurp(path), "old");
  EXPECT_EQ(list_directory(dir.path()).size(), 1u);
}

TEST(AtomicFile, NeedsADirectoryAndAName) {
  const TempDir dir;
  EXPECT_ERROR(write_file_atomically(dir / "none/a", "x"), ErrorKind::kIo, dir / "none/a");
  EXPECT_ERROR(write_file_atomically(dir.path() + "/", "x"), ErrorKind::kInvalidArgument,
               "no name");
  make_directories(dir / "sub");
  EXPECT_ERROR(write_file_atomically(dir / "sub", "x"), ErrorKind::kIo, "a directory");
  EXPECT_EQ(list_directory(dir.path()).size(), 1u);
  const std::string long_name(255, 'n');
  write_file_atomically(dir / long_name, "x");
  EXPECT_EQ(slurp(dir / long_name), "x");
}

TEST(AtomicFile, ReplacesLinksAndRefusesDevicesAndPipes) {
  const TempDir dir;
  write_file_atomically(dir / "a", "old");
  ASSERT_EQ(::symlink("a", (dir / "link").c_str()), 0);
  write_file_atomically(dir / "link", "new");
  EXPECT_EQ(slurp(dir / "link"), "new");
  EXPECT_EQ(slurp(dir / "a"), "old");
  ASSERT_EQ(::symlink("nowhere", (dir / "dangling").c_str()), 0);
  write_file_atomically(dir / "dangling", "new");
  EXPECT_EQ(slurp(dir / "dangling"), "new");

  struct stat status;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_ERROR(write_file_atomically(dir / "pipe", "x"), ErrorKind::kIo, "a pipe");
  ASSERT_EQ(::lstat((dir / "pipe").c_str(), &status), 0);
  EXPECT_TRUE(S_ISFIFO(status.st_mode));
  ASSERT_EQ(::symlink("/dev/null", (dir / "null").c_str()), 0);
  EXPECT_ERROR(write_file_atomically(dir / "null", "x"), ErrorKind::kIo, "a device");
  EXPECT_ERROR(write_file_atomically("/dev/stdout", "x"), ErrorKind::kIo, "a device");
}

TEST(AtomicFile, WhatAKilledWriterLeftIsRemovedByTheNext) {
  const TempDir dir;
  const std::string path = dir / "a";
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    AtomicFile file(path);
    ::_exit(0);  // without destructors, as kill -9 would
  }
  ::waitpid(child, nullptr, 0);
  ASSERT_EQ(list_directory(dir.path()).size(), 1u);
  EXPECT_TRUE(is_temporary_name(list_directory(dir.path())[0]));

  AtomicFile living(path);  // removes the orphan, and is itself left alone by another writer
  EXPECT_EQ(list_directory(dir.path()).size(), 1u);
  write_file_atomically(path, "second");
  living.write("first");
  living.commit();
  EXPECT_EQ(slurp(path), "first");
  EXPECT_EQ(list_directory(dir.path()).size(), 1u);
}

TEST(DirectoryLock, IsForOneProcess) {
  const TempDir dir;
  {
    const DirectoryLock lock(dir.path(), "saving");
    EXPECT_ERROR(DirectoryLock(dir.path(), "saving"), ErrorKind::kIo, "another process is saving");
  }
  const DirectoryLock again(dir.path(), "saving");
}

}  // namespace
}  // namespace conclave::sys
