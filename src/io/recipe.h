// Recipes: commented TOML files of flat dotted keys ("train.steps"), checked against a table of the
// keys there are, with overrides from the command line. Values come from the table's defaults, then
// files in the order given, then --set.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace conclave::io {

using RecipeValue = std::variant<std::int64_t, double, bool, std::string, std::vector<std::int64_t>,
                                 std::vector<double>, std::vector<std::string>>;

// One row of the table. The type of the default is the type of the key; a real key takes integers.
struct RecipeKey {
  std::string key;  // "optimizer.learning_rate"
  RecipeValue default_value;
  std::string help;  // one line
  // Range of a number, and of every number in a list, both ends included.
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices = {};  // for strings: what is allowed; empty allows all
};

class Recipe {
 public:
  // Copies the table; a key twice, or a default out of its range, is our own bug (CONCLAVE_CHECK).
  explicit Recipe(std::vector<RecipeKey> table);

  // Throws Error(kInvalidArgument) for an unknown key (naming the nearest known one), a wrong type
  // or range, with "FILE:LINE: key 'KEY': found ..., expected ..."; Error(kBadFile) where the text
  // is not TOML; and what sys::read_file throws.
  void load_file(const std::string& path);
  void load_text(std::string_view text, const std::string& file_name);
  // "key=value", the value as in TOML; a bare word is taken as a string where the key is one.
  void set(std::string_view assignment);

  std::int64_t integer(std::string_view key) const;
  double real(std::string_view key) const;
  bool boolean(std::string_view key) const;
  const std::string& string(std::string_view key) const;
  const std::vector<std::int64_t>& integers(std::string_view key) const;
  const std::vector<double>& reals(std::string_view key) const;
  const std::vector<std::string>& strings(std::string_view key) const;

  // False while the value is the default.
  bool is_set(std::string_view key) const;
  // "default", "recipes/tiny.toml:12" or "--set".
  const std::string& origin(std::string_view key) const;
  // For the caller's own checks across keys: throws "ORIGIN: key 'KEY': MESSAGE".
  [[noreturn]] void fail_at(std::string_view key, const std::string& message) const;

  // Every key with its value and its help as a comment; load_text of it gives the same recipe.
  std::string to_toml() const;
  const std::vector<RecipeKey>& table() const { return table_; }

 private:
  struct Slot {
    RecipeValue value;
    std::string origin;
  };
  // `where` is "FILE:LINE" or "--set"; no value stands for a type that recipes do not have.
  void assign(const RecipeKey& row, std::optional<RecipeValue> value, const std::string& where);
  const RecipeKey* find_key(std::string_view key) const;
  const RecipeKey& known_key(std::string_view key, const std::string& where) const;
  const Slot& slot(std::string_view key) const;

  std::vector<RecipeKey> table_;
  std::map<std::string, Slot, std::less<>> slots_;
};

}  // namespace conclave::io
