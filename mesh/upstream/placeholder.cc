#include "mesh/upstream/placeholder.h"

#include <memory>
#include <utility>

namespace mesh::upstream {
namespace {

using balancing::PickArgs;
using balancing::PickResult;

class NoEndpoints final : public balancing::Picker {
 public:
  explicit NoEndpoints(absl::Status why) : why_(std::move(why)) {}
  PickResult Pick(const PickArgs&) const override {
    PickResult result;
    if (!why_.ok()) {
      result.kind = PickResult::Kind::kFail;
      result.status = &why_;
    }
    return result;
  }

 private:
  const absl::Status why_;
};

class Drop final : public balancing::Picker {
 public:
  explicit Drop(absl::Status why) : why_(std::move(why)) {}
  PickResult Pick(const PickArgs&) const override {
    PickResult result;
    result.kind = PickResult::Kind::kDrop;
    result.status = &why_;
    return result;
  }

 private:
  const absl::Status why_;
};

}  // namespace

balancing::PickerPtr NoEndpointsPicker(absl::Status why) {
  return std::make_shared<NoEndpoints>(std::move(why));
}

balancing::PickerPtr DropPicker(absl::Status why) {
  return std::make_shared<Drop>(std::move(why));
}

balancing::PickerPtr UnknownPicker(absl::Status unknown) {
  return unknown.ok() ? NoEndpointsPicker(absl::OkStatus())
                      : DropPicker(std::move(unknown));
}

}  // namespace mesh::upstream
