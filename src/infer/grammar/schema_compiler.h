// The compiler behind schema.h. A value may be held to several schemas together (allOf, $ref with
// neighbours, the choice of an anyOf beside its base): they form one View, and each different View
// becomes a rule. Rules wait in a queue, so that no depth of nesting matters.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "infer/grammar/schema.h"

namespace conclave::infer::grammar {

class SchemaCompiler {
 public:
  SchemaCompiler(const io::JsonTree& tree, int root, JsonParts& parts, const SchemaLimits& limits);
  ExprId compile();

 private:
  using Tree = io::JsonTree;
  // A schema, and whether its anyOf or oneOf is decided already.
  struct Part {
    int node = 0;
    bool decided = false;
    auto operator<=>(const Part&) const = default;
  };
  using View = std::vector<Part>;
  // What all parts of a View say, by keyword.
  struct Keywords {
    View parts;
    bool never = false;  // a part is the schema `false`
    std::map<std::string, std::vector<int>> values;

    bool has(const char* key) const { return values.contains(key); }
    bool has_any(std::initializer_list<const char*> keys) const;
  };
  struct Names;  // of an object's members

  [[noreturn]] void refuse(int node, const std::string& keyword, const std::string& what) const;
  std::string place(int node) const;

  ExprId rule_of(View view);
  Keywords keywords_of(const View& view);
  void add_keywords(int node, Keywords& k, std::vector<Part>& work);
  int resolve(int reference) const;

  ExprId body(const View& view);
  std::optional<ExprId> choices(const Keywords& k);
  void check_exclusive(int list);
  std::set<std::string> plain_values(const Keywords& k) const;
  bool exclusive(int a, int b);
  std::optional<ExprId> values(const Keywords& k);
  std::set<std::string> types_of(const Keywords& k) const;
  std::set<std::string> named_types(const Keywords& k) const;

  ExprId object(const Keywords& k);
  Names names_of(const Keywords& k);
  ExprId members(const Names& names);
  ExprId array(const Keywords& k);
  ExprId string(const Keywords& k);
  ExprId format(int node);
  ExprId number(const Keywords& k, bool integer);

  std::int64_t count_of(const Keywords& k, const char* key, bool largest,
                        std::int64_t if_absent) const;
  // The tightest bounds on numbers: integers within, and whole numbers around.
  struct Bounds {
    std::int64_t low, high, floor, ceiling;
    bool any = false;
  };
  Bounds bounds_of(const Keywords& k) const;

  const Tree& tree_;
  int root_;
  JsonParts& parts_;
  Builder& b_;
  SchemaLimits limits_;
  std::vector<int> parents_;
  std::map<View, RuleId> rules_;
  std::deque<std::pair<View, RuleId>> queue_;
};

}  // namespace conclave::infer::grammar
