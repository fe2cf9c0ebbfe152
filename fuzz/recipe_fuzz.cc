// A recipe as bytes: a typed error or values that are written and read back the same.
#include "base/error.h"
#include "io/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace conclave;
  const std::vector<io::RecipeKey> table = {{"a.integer", std::int64_t{1}, "", -10, 10},
                                            {"a.real", 1.0, "", 0, 1},
                                            {"flag", true, ""},
                                            {"text", std::string(), ""},
                                            {"list", std::vector<std::int64_t>{}, ""},
                                            {"reals", std::vector<double>{}, ""},
                                            {"texts", std::vector<std::string>{}, ""}};
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  io::Recipe recipe(table);
  try {
    recipe.load_text(text, "fuzz");
  } catch (const Error&) {
    try {
      recipe.set(text);
    } catch (const Error&) {
      return 0;
    }
  }
  io::Recipe again(table);
  again.load_text(recipe.to_toml(), "again");
  if (again.to_toml() != recipe.to_toml()) __builtin_trap();
  return 0;
}
