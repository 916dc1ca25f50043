#include "mesh/base/foreign_code.h"

#include "absl/strings/str_cat.h"

namespace mesh::base {

void ForeignCode::Caught(absl::string_view what) {
  if (thrown_.fetch_add(1, std::memory_order_relaxed) > 0) return;
  tell_(absl::StrCat(name_, ", which the application gave, has thrown \"", what,
                     "\": it is caught, and later ones are only counted."));
}

}  // namespace mesh::base
