// The list of routers. Adding one: its file beside this one, and its name in registry.cc.
#pragma once

#include <span>
#include <string_view>

#include "moe/routers/spec.h"

namespace conclave::moe {

std::span<const RouterSpec* const> router_specs();

// Error(kInvalidArgument) that lists the known names and the nearest one.
const RouterSpec& find_router(std::string_view kind);

}  // namespace conclave::moe
