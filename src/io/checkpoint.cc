#include "io/checkpoint.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "base/error.h"
#include "io/checksum.h"
#include "io/json.h"

namespace conclave::io {
namespace {

using nlohmann::json;

constexpr const char* kManifest = "checksums.json";
constexpr std::string_view kPrefix = "step-";
// Everything under this name in a root is ours to remove: a save that did not reach its rename, a
// checkpoint that was replaced or pruned.
constexpr std::string_view kTemporary = ".tmp-step-";

std::optional<std::int64_t> parse_step(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || step < 0) return std::nullopt;
  // "step-7" is not what we write, and must not shadow "step-000007".
  if (fmt::format("{:06}", step) != name) return std::nullopt;
  return step;
}

void remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) spdlog::warn("{}: cannot remove: {}", path, error.message());
}

void remove_leftovers(const std::string& root) {
  for (const std::string& name : sys::list_directory(root)) {
    if (name.starts_with(kTemporary)) remove_tree(sys::join_path(root, name));
  }
}

std::string temporary_path(const std::string& root, std::int64_t step, const char* why) {
  return sys::join_path(root, fmt::format("{}{:06}-{}", kTemporary, step, why));
}

// The text of checksums.json. "self" is the checksum of the same text without that key.
std::string manifest_text(json manifest) {
  manifest.erase("self");
  const std::string body = manifest.dump(1);
  manifest["self"] = checksum(std::as_bytes(std::span(body)));
  return manifest.dump(1) + "\n";
}

void write_manifest(const std::string& directory, std::int64_t step, sys::FileOps& ops) {
  json manifest = {{"algorithm", "xxh3-64"}, {"step", step}, {"files", json::object()}};
  for (const std::string& name : sys::list_directory(directory)) {
    const std::string path = sys::join_path(directory, name);
    sys::sync_path(path, ops);
    const sys::File file(path);  // refuses what is no file
    manifest["files"][name] = {{"bytes", file.size()}, {"xxh3_64", checksum(file)}};
  }
  sys::write_file_atomically(sys::join_path(directory, kManifest), manifest_text(manifest), ops);
  sys::sync_path(directory, ops);
}

// The rename that makes `temporary` the checkpoint `target`.
void commit(const std::string& temporary, const std::string& target, const std::string& replaced,
            sys::FileOps& ops) {
  const auto check = [&](int result) {
    if (result == 0) return;
    const int error_number = errno;
    fail(ErrorKind::kIo, "{}: cannot put the checkpoint in place: {}", target,
         std::system_category().message(error_number));
  };
  if (!sys::directory_exists(target)) return check(ops.rename(temporary.c_str(), target.c_str()));
  const int result = ops.exchange(temporary.c_str(), target.c_str());
  if (result == 0 || (errno != EINVAL && errno != ENOSYS)) return check(result);
  // A file system that cannot swap: for a moment the step is absent, older steps are not.
  check(ops.rename(target.c_str(), replaced.c_str()));
  if (ops.rename(temporary.c_str(), target.c_str()) != 0) {
    const int error_number = errno;
    ops.rename(replaced.c_str(), target.c_str());
    errno = error_number;
    check(-1);
  }
}

void prune(const std::string& root, std::int64_t newest, int keep_last, sys::FileOps& ops) {
  if (keep_last <= 0) return;
  const std::vector<std::int64_t> steps = list_checkpoints(root);
  const auto keep = static_cast<std::size_t>(keep_last);
  for (std::size_t i = 0; i + keep < steps.size(); ++i) {
    if (steps[i] == newest) continue;
    // Renamed first, so that a half-removed checkpoint never looks like a damaged one.
    const std::string doomed = temporary_path(root, steps[i], "pruned");
    if (ops.rename(checkpoint_path(root, steps[i]).c_str(), doomed.c_str()) == 0) {
      remove_tree(doomed);
    } else {
      spdlog::warn("{}: cannot remove: {}", checkpoint_path(root, steps[i]),
                   std::system_category().message(errno));
    }
  }
}

json read_manifest(const std::string& directory) {
  const std::string path = sys::join_path(directory, kManifest);
  if (!sys::file_exists(path)) {
    fail(ErrorKind::kBadFile, "{}: is missing, so this is no complete checkpoint", path);
  }
  const std::string text = sys::read_file(path, 1 << 20);
  json manifest = parse_json(text, path, {.max_bytes = 1 << 20, .max_depth = 4});
  const JsonView view(manifest, path);
  view.object("files");
  if (view.string("algorithm") != "xxh3-64") {
    fail(ErrorKind::kUnsupported, "{}: unknown algorithm", path);
  }
  if (manifest_text(manifest) != text) {
    fail(ErrorKind::kBadFile, "{}: is damaged: it does not match its own checksum", path);
  }
  return manifest;
}

}  // namespace

std::string checkpoint_path(const std::string& root, std::int64_t step) {
  return sys::join_path(root, fmt::format("{}{:06}", kPrefix, step));
}

std::vector<std::int64_t> list_checkpoints(const std::string& root) {
  std::vector<std::int64_t> steps;
  if (!sys::directory_exists(root)) return steps;
  for (const std::string& name : sys::list_directory(root)) {
    const auto step = parse_step(name);
    if (step && sys::directory_exists(sys::join_path(root, name))) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::string save_checkpoint(const std::string& root, std::int64_t step,
                            const std::function<void(const std::string& directory)>& write_files,
                            const CheckpointOptions& options) {
  CONCLAVE_CHECK(step >= 0, "step {}", step);
  sys::FileOps& ops = options.ops == nullptr ? sys::real_file_ops() : *options.ops;
  sys::make_directories(root, ops);
  const sys::DirectoryLock lock(root, "saving checkpoints");
  remove_leftovers(root);

  const std::string target = checkpoint_path(root, step);
  const std::string temporary = temporary_path(root, step, "new");
  const std::string replaced = temporary_path(root, step, "replaced");
  try {
    sys::make_directories(temporary, ops);
    write_files(temporary);
    write_manifest(temporary, step, ops);
    commit(temporary, target, replaced, ops);
  } catch (...) {
    remove_tree(temporary);
    throw;
  }
  with_context(target + ": is in place, but a power cut may undo it",
               [&] { sys::sync_path(root, ops); });
  remove_leftovers(root);  // the checkpoint of the same step that was replaced
  prune(root, step, options.keep_last, ops);
  return target;
}

void verify_checkpoint(const std::string& directory) {
  const json manifest = read_manifest(directory);
  const JsonView files(manifest.at("files"), sys::join_path(directory, kManifest), "files");
  for (const std::string& name : files.keys()) {
    const JsonView entry = files.object(name);
    if (name.find('/') != std::string::npos || name.find('\0') != std::string::npos) {
      entry.fail_at("", "is no plain file name");
    }
    const std::string path = sys::join_path(directory, name);
    if (!sys::file_exists(path)) {
      fail(ErrorKind::kBadFile, "{}: is missing from the checkpoint", path);
    }
    const sys::File file(path);
    const auto bytes = static_cast<std::uint64_t>(
        entry.integer("bytes", 0, std::numeric_limits<std::int64_t>::max()));
    if (file.size() != bytes) {
      fail(ErrorKind::kBadFile, "{}: holds {} bytes, but {} were saved", path, file.size(), bytes);
    }
    if (checksum(file) != entry.string("xxh3_64")) {
      fail(ErrorKind::kBadFile, "{}: is damaged: its checksum is not the one that was saved", path);
    }
  }
}

CheckpointFound latest_valid_checkpoint(const std::string& root) {
  CheckpointFound found;
  const std::vector<std::int64_t> steps = list_checkpoints(root);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const std::string directory = checkpoint_path(root, *step);
    try {
      verify_checkpoint(directory);
      found.directory = directory;
      found.step = *step;
      return found;
    } catch (const Error& error) {
      found.skipped.push_back(error.message());
    }
  }
  return found;
}

}  // namespace conclave::io
