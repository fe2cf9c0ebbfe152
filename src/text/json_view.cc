#include "text/json_view.h"

#include "base/error.h"
#include "text/display.h"

namespace conclave::text {

void JsonView::wrong(std::string_view expected) const {
  std::string found = value_->type_name();
  if (value_->is_string()) {
    found = "'" + display_text(value_->get_ref<const std::string&>()) + "'";
  } else if (value_->is_number() || value_->is_boolean()) {
    found = value_->dump();
  }
  fail(ErrorKind::kBadFile, "key '{}': found {}, expected {}", path_, found, expected);
}

bool JsonView::has(const char* key) const {
  if (!value_->is_object()) return false;
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

std::vector<std::string> JsonView::keys() const {
  if (!value_->is_object()) wrong("an object");
  std::vector<std::string> out;
  for (const auto& item : value_->items()) out.push_back(item.key());
  return out;
}

JsonView JsonView::at(const char* key) const {
  if (!value_->is_object()) wrong("an object");
  const auto found = value_->find(key);
  if (found == value_->end()) {
    fail(ErrorKind::kBadFile, "key '{}.{}' is missing", path_, display_text(key));
  }
  return {*found, path_ + "." + display_text(key)};
}

std::size_t JsonView::size() const {
  if (!value_->is_array()) wrong("a list");
  return value_->size();
}

JsonView JsonView::at(std::size_t index) const {
  if (!value_->is_array()) wrong("a list");
  return {(*value_)[index], fmt::format("{}[{}]", path_, index)};
}

const std::string& JsonView::text() const {
  if (!value_->is_string()) wrong("a string");
  return value_->get_ref<const std::string&>();
}

std::int64_t JsonView::integer() const {
  if (!value_->is_number_integer()) wrong("a whole number");
  return value_->get<std::int64_t>();
}

double JsonView::number() const {
  if (!value_->is_number()) wrong("a number");
  return value_->get<double>();
}

bool JsonView::boolean() const {
  if (!value_->is_boolean()) wrong("true or false");
  return value_->get<bool>();
}

std::string JsonView::text_or(const char* key, std::string_view otherwise) const {
  return has(key) ? at(key).text() : std::string(otherwise);
}

bool JsonView::boolean_or(const char* key, bool otherwise) const {
  return has(key) ? at(key).boolean() : otherwise;
}

std::int64_t JsonView::integer_or(const char* key, std::int64_t otherwise) const {
  return has(key) ? at(key).integer() : otherwise;
}

}  // namespace conclave::text
