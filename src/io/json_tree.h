// JSON as a flat tree that keeps the order of members as they were written: for schemas, where the
// order of properties is the order in which a model is to write them. Nothing recurses on depth.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"

namespace conclave::io {

class JsonTree {
 public:
  enum class Type : std::uint8_t { kNull, kBoolean, kInteger, kNumber, kString, kArray, kObject };
  static constexpr int kNone = -1;
  static constexpr int kRoot = 0;

  // Throws Error(kBadFile) as parse_json does.
  static JsonTree parse(std::string_view text, const std::string& file_name,
                        const JsonLimits& limits = {});

  Type type(int node) const { return at(node).type; }
  bool is_object(int node) const { return type(node) == Type::kObject; }
  bool is_array(int node) const { return type(node) == Type::kArray; }
  bool is_string(int node) const { return type(node) == Type::kString; }
  bool boolean(int node) const { return at(node).text == "true"; }
  // A string's characters, a number as it was written, "true", "false" or "null"; else empty.
  const std::string& text(int node) const { return at(node).text; }
  // A member's name; empty for others.
  const std::string& key(int node) const { return at(node).key; }
  // Children in the order of the text.
  int first_child(int node) const { return at(node).first; }
  int next_sibling(int node) const { return at(node).next; }
  int size(int node) const { return at(node).count; }
  std::vector<int> children(int node) const;
  // A member by its name, or kNone. Looks at one after the other.
  int find(int node, std::string_view key) const;
  int nodes() const { return static_cast<int>(nodes_.size()); }

  // As text, without white space.
  std::string dump(int node) const;

 private:
  class Builder;
  struct Node {
    Type type = Type::kNull;
    int first = kNone, last = kNone, next = kNone, count = 0;
    std::string key, text;
  };
  const Node& at(int node) const { return nodes_[static_cast<std::size_t>(node)]; }

  std::vector<Node> nodes_;
};

}  // namespace conclave::io
