#include "text/jinja/arguments.h"

namespace conclave::text::jinja {

Arguments::Arguments(Runtime& rt, std::string_view callable, const Args& args,
                     std::initializer_list<std::string_view> names, std::size_t required)
    : rt_(rt), callable_(callable), values_(names.size()), given_(names.size(), false) {
  if (args.positional.size() > names.size()) {
    rt.error("{}() takes at most {} arguments ({} given)", callable, names.size(),
             args.positional.size());
  }
  for (std::size_t i = 0; i < args.positional.size(); ++i) {
    values_[i] = args.positional[i];
    given_[i] = true;
  }
  for (const auto& [name, value] : args.named) {
    std::size_t i = 0;
    while (i < names.size() && names.begin()[i] != name) ++i;
    if (i == names.size()) {
      rt.error("{}() got an unexpected keyword argument '{}'", callable, name);
    }
    if (given_[i]) rt.error("{}() got multiple values for argument '{}'", callable, name);
    values_[i] = value;
    given_[i] = true;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!given_[i]) {
      rt.error("{}() missing required argument '{}'", callable, names.begin()[i]);
    }
  }
}

const MarkedText& Arguments::text(std::size_t i) const {
  if (values_[i].is_undefined()) undefined_error(rt_, values_[i]);
  if (!values_[i].is_string()) {
    rt_.error("{}() argument {} must be str, not {}", callable_, i + 1, type_name(values_[i]));
  }
  return values_[i].text();
}

}  // namespace conclave::text::jinja
