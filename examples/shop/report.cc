#include "examples/shop/report.h"
namespace shop {
std::string ReportHtml(const std::vector<ArmLog>& arms, double rate,
                       const std::string& service_config,
                       const std::string& mesh_yaml) {
  return "";
}
}  // namespace shop
