#ifndef MESH_CONFIG_BUILD_GUARDS_H_
#define MESH_CONFIG_BUILD_GUARDS_H_

#include <optional>
#include <string>

#include "mesh/config/checks.h"
#include "mesh/options/guards.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {

// Completes a rate limit: it acts once there is one.
void FinishRateLimit(std::optional<options::Mode> mode,
                     std::optional<int> burst,
                     options::RateLimitOptions* options);

// Builds what guards a service as a whole.
class GuardsBuilder final : private Checks {
 public:
  using Checks::Checks;

  // At `path` of a service.
  void BuildGuards(const v1::Service& service, const std::string& path,
                   options::GuardOptions* options);

 private:
  void BuildEjection(const v1::OutlierEjection& ejection,
                     const std::string& path,
                     options::OutlierEjectionOptions* options);
  void BuildSilence(const v1::Silence& silence, const std::string& path,
                    options::SilenceOptions* options);
  void BuildCaps(const v1::Caps& caps, const std::string& path,
                 options::CapsOptions* options);
};

}  // namespace mesh::config

#endif  // MESH_CONFIG_BUILD_GUARDS_H_
