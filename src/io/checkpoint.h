// Checkpoints that survive kill -9, a full disk and flipped bits.
//
//   root/step-000123/   config.json, model.safetensors, ... whatever the caller writes, and
//                       checksums.json: size and xxHash3-64 of every file, and of itself
//
// A checkpoint is written in a temporary directory of `root`, every file is flushed, and the rename
// of the directory is the moment it exists. Loading reads every byte and compares. One process
// saves into a root at a time (a lock on the directory, which dies with the process).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "sys/files.h"
#include "tensor/tensor.h"

namespace conclave::io {

struct CheckpointOptions {
  int keep_last = 3;  // older ones are removed after the new one is committed; 0 keeps all
  sys::FileOps* ops = nullptr;  // null: the real ones
};

// Calls `write_files(directory)` to fill a temporary directory, then commits it as step `step` and
// returns its path. A checkpoint of the same step is replaced. What earlier interrupted saves left
// is removed first. Throws what write_files throws and Error(kIo); then nothing has changed.
std::string save_checkpoint(const std::string& root, std::int64_t step,
                            const std::function<void(const std::string& directory)>& write_files,
                            const CheckpointOptions& options = {});

// Compares every file with checksums.json. Throws Error(kBadFile) naming the file that is missing,
// cut or changed.
void verify_checkpoint(const std::string& directory);

struct CheckpointFound {
  std::string directory;  // empty: there is none
  std::int64_t step = -1;
  // One message for each newer checkpoint that was passed over because it is damaged.
  std::vector<std::string> skipped;
};
// The newest checkpoint of `root` that verifies. A root that does not exist has none.
CheckpointFound latest_valid_checkpoint(const std::string& root);

// Steps for which a directory exists, oldest first; verified or not.
std::vector<std::int64_t> list_checkpoints(const std::string& root);
std::string checkpoint_path(const std::string& root, std::int64_t step);

// What training needs beside the model: named arrays (f32, f64, i64, i32, u8) and strings (step,
// random state, positions in the data). One safetensors file whose metadata carries the strings and
// xxHash3-64 checksums of each array and of all names, shapes and strings.
class TrainingState {
 public:
  void set(const std::string& key, std::string value) { values_[key] = std::move(value); }
  void set_integer(const std::string& key, std::int64_t value);
  // Borrowed until save() returns.
  void add(const std::string& name, DType type, const Shape& shape,
           std::span<const std::byte> bytes);
  template <class T>
  void add(const std::string& name, const Shape& shape, std::span<const T> values) {
    add(name, DTypeOf<T>::value, shape, std::as_bytes(values));
  }
  void save(const std::string& path, sys::FileOps& ops = sys::real_file_ops()) const;

 private:
  struct Entry {
    DType type;
    Shape shape;
    std::span<const std::byte> bytes;
  };
  std::map<std::string, std::string> values_;
  std::map<std::string, Entry> arrays_;
};

// A saved TrainingState. Names, shapes and strings are checked when it is opened, an array when it
// is read: Error(kBadFile) names the one that is damaged.
class TrainingStateReader {
 public:
  explicit TrainingStateReader(const std::string& path);
  ~TrainingStateReader();

  bool has(const std::string& key) const { return values_.contains(key); }
  // Throws Error(kBadFile) where the key is absent or no integer.
  const std::string& value(const std::string& key) const;
  std::int64_t integer(const std::string& key) const;
  std::vector<std::string> array_names() const;
  // Throws Error(kNotFound), and Error(kBadFile) where type or shape differ (both are shown).
  void read(const std::string& name, DType type, const Shape& shape,
            std::span<std::byte> out) const;
  template <class T>
  void read(const std::string& name, const Shape& shape, std::span<T> out) const {
    read(name, DTypeOf<T>::value, shape, std::as_writable_bytes(out));
  }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::map<std::string, std::string> values_;
};

}  // namespace conclave::io
