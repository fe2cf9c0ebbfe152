// A parsed template: nodes in one vector, children by index, so that freeing it never recurses and
// the depth of every node is known (the parser refuses what nests too deep).
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace conclave::text::jinja {

using NodeId = std::int32_t;
using NameId = std::int32_t;  // of a variable
inline constexpr NodeId kNoNode = -1;

// What the fields of a node hold, by type. `a`, `b`, `c` are nodes; not listed means not used.
enum class NodeType : std::uint8_t {
  // Expressions.
  kConstant,     // value
  kName,         // name
  kTuple,        // items
  kList,         // items
  kDict,         // items: key, value, key, value ...
  kConditional,  // a if b else c; c may be missing
  kOr,           // items
  kAnd,          // items
  kNot,          // a
  kNegative,     // a
  kPositive,     // a
  kCompare,      // items, operators between them
  kArithmetic,   // items, operators between them, from left to right
  kConcat,       // items joined by ~
  kAttribute,    // a . text
  kItem,         // a [b]
  kSlice,        // of an item: items are start, stop, step, each may be kNoNode
  kCall,         // a (call)
  kFilter,       // a | text (call); a is kNoNode for the filter of a block
  kTest,         // a is text (call)
  // Targets of assignments, besides kName, kTuple, kList.
  kNamespaceTarget,  // name . text
  // Statements.
  kData,         // value
  kPrint,        // a
  kIf,           // a: test, body, orelse
  kFor,          // a: target, b: iterable, c: test or missing; body, orelse; flag: recursive
  kSet,          // a: target, b: value
  kSetBlock,     // a: target, b: filter or missing; body
  kMacro,        // name; items: defaults of the last parameters; parameters, body, uses
  kCallBlock,    // a: the call; otherwise a macro
  kFilterBlock,  // a: filter; body
  kWith,         // items: target, value, target, value ...; body
  kScope,        // body: generation, block, autoescape
  kBreak,
  kContinue,
};

enum class Operator : std::uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct CallArguments {
  std::vector<NodeId> positional;
  std::vector<std::pair<std::string, NodeId>> named;
  NodeId list = kNoNode;  // *list
  NodeId dict = kNoNode;  // **dict
};

// Which of the special variables the body of a macro mentions.
struct MacroUses {
  bool caller = false, kwargs = false, varargs = false;
};

struct Node {
  NodeType type = NodeType::kConstant;
  bool flag = false;
  int depth = 1;
  Position position;
  NodeId a = kNoNode, b = kNoNode, c = kNoNode;
  NameId name = -1;
  std::string text;
  Value value;
  std::vector<NodeId> items, body, orelse;
  std::vector<Operator> operators;
  std::vector<NameId> parameters;
  CallArguments call;
  MacroUses uses;
};

struct Ast {
  std::vector<Node> nodes;
  std::vector<NodeId> body;
  std::vector<std::string> names;  // of variables, by NameId
  std::unordered_map<std::string, NameId> name_ids;

  NameId name_id(const std::string& name) {
    const auto [place, is_new] = name_ids.try_emplace(name, static_cast<NameId>(names.size()));
    if (is_new) names.push_back(name);
    return place->second;
  }
};

}  // namespace conclave::text::jinja
