#ifndef EXAMPLES_SHOP_REPORT_H_
#define EXAMPLES_SHOP_REPORT_H_

#include <string>
#include <vector>

#include "examples/shop/experiment.h"

namespace shop {

// The demo's report: one HTML page that needs nothing else. It has the arms'
// figures side by side, and what happened over time. `rate` is calls per
// second; the texts are the arms' configurations.
std::string ReportHtml(const std::vector<ArmLog>& arms, double rate,
                       const std::string& service_config,
                       const std::string& mesh_yaml,
                       const std::string& server_yaml);

}  // namespace shop

#endif  // EXAMPLES_SHOP_REPORT_H_
