#include "examples/shop/shop.h"

#include <signal.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "examples/shop/configs.h"
#include "examples/shop/endpoints_file.h"
#include "examples/shop/files.h"

namespace shop {
namespace {

// How long a certificate holds that is rotated every other second, and one that
// stays for the whole run. Clients replace connections within a tenth of the
// first. So none is left of an authority when that is withdrawn.
constexpr absl::Duration kShort = absl::Seconds(10);
constexpr absl::Duration kLong = absl::Hours(24);

}  // namespace

absl::StatusOr<std::unique_ptr<Shop>> Shop::Open(const std::string& arm,
                                                 const std::string& programs,
                                                 const std::string& directory) {
  auto shop = absl::WrapUnique(new Shop(arm, programs, directory));
  auto certificates =
      Certificates::Make(directory, arm == "mesh" ? kShort : kLong);
  if (!certificates.ok()) return certificates.status();
  shop->certificates_ = *std::move(certificates);
  for (const char* name :
       {"cart-1", "cart-2", "cart-3", "catalog-1", "catalog-2", "catalog-3",
        "payment-1", "payment-2"}) {
    Server server;
    const std::string service(name, std::string(name).find('-'));
    server.program = service + "_server";
    auto panel = OpenPanel(absl::StrCat(directory, "/", name, ".panel"));
    if (!panel.ok()) return panel.status();
    server.panel = *panel;
    shop->names_.push_back(name);
    shop->servers_.push_back(std::move(server));
    absl::Status made = shop->certificates_->Add(name);
    made.Update(WriteWhole(absl::StrCat(directory, "/", name, "/server.yaml"),
                           kServerYaml));
    if (!made.ok()) return made;
    auto process = shop->StartServer(name, 0);
    if (!process.ok()) return process.status();
    shop->servers_.back().port = (*process)->port();
    shop->servers_.back().process = *std::move(process);
  }
  absl::Status status = shop->WriteEndpoints();
  status.Update(shop->certificates_->Add("frontend"));
  status.Update(WriteWhole(directory + "/mesh.yaml", kMeshYaml));
  status.Update(WriteWhole(directory + "/service_config.json", kServiceConfig));
  if (!status.ok()) return status;

  auto panel = OpenPanel(directory + "/frontend.panel");
  if (!panel.ok()) return panel.status();
  shop->frontend_panel_ = *panel;
  auto frontend = Process::Start(
      {programs + "/frontend", "--arm=" + arm, "--config=" + directory,
       absl::StrCat("--panel=", directory, "/frontend.panel")},
      shop->log_path(), /*says_port=*/true);
  if (!frontend.ok()) return frontend.status();
  shop->frontend_ = *std::move(frontend);
  return shop;
}

void Shop::Signal(const std::string& server, int signal) {
  servers_[IndexOf(server)].process->Signal(signal);
}

absl::Status Shop::Restart(const std::string& server) {
  Server& entry = servers_[IndexOf(server)];
  entry.process.reset();  // Dead and its port free, when this returns.
  auto process = StartServer(server, entry.port);
  if (!process.ok()) return process.status();
  entry.process = *std::move(process);
  return absl::OkStatus();
}

absl::Status Shop::Replace(const std::string& server) {
  Server& entry = servers_[IndexOf(server)];
  auto process = StartServer(server, 0);
  if (!process.ok()) return process.status();
  entry.port = (*process)->port();
  leaving_.push_back(std::exchange(entry.process, *std::move(process)));
  absl::Status status = WriteEndpoints();
  leaving_.back()->Signal(SIGTERM);
  return status;
}

Panel& Shop::panel(const std::string& server) {
  return *servers_[IndexOf(server)].panel;
}

absl::Status Shop::StartLoad(double rate, double seconds) {
  auto load = Process::Start(
      {programs_ + "/load_generator",
       absl::StrCat("--frontend=127.0.0.1:", frontend_->port()),
       absl::StrCat("--results=", results_path()),
       absl::StrCat("--rate=", rate), absl::StrCat("--seconds=", seconds)},
      log_path(), /*says_port=*/false);
  if (!load.ok()) return load.status();
  load_ = *std::move(load);
  return absl::OkStatus();
}

Sample Shop::TakeSample() const {
  Sample sample;
  for (const Server& server : servers_) {
    sample.calls.push_back(server.panel->calls);
    sample.retries += server.panel->repeats;
  }
  if (arm_ == "mesh") {
    sample.retries =
        frontend_panel_->retries + frontend_panel_->transparent_retries;
    for (const Panel::Health& health : frontend_panel_->health) {
      sample.suspected.push_back(health.suspected);
      sample.ejected.push_back(health.ejected);
      sample.out += health.out;
    }
  }
  return sample;
}

uint64_t Shop::ChargedTwice() const {
  std::map<std::string, int> orders;
  std::ifstream ledger(directory_ + "/ledger");
  std::string order;
  while (std::getline(ledger, order)) ++orders[order];
  return std::count_if(orders.begin(), orders.end(),
                       [](const auto& entry) { return entry.second > 1; });
}

absl::Status Shop::Check() {
  if (!frontend_->Ended()) return absl::OkStatus();
  std::ifstream file(log_path());
  return absl::AbortedError(
      absl::StrCat("the frontend ended:\n",
                   std::string(std::istreambuf_iterator<char>(file), {})));
}

absl::StatusOr<std::unique_ptr<Process>> Shop::StartServer(
    const std::string& name, int port) {
  return Process::Start(
      {absl::StrCat(programs_, "/", servers_[IndexOf(name)].program),
       absl::StrCat("--port=", port), absl::StrCat("--arm=", arm_),
       absl::StrCat("--identity=", directory_, "/", name),
       absl::StrCat("--panel=", directory_, "/", name, ".panel"),
       absl::StrCat("--ledger=", directory_, "/ledger")},
      log_path(), /*says_port=*/true);
}

absl::Status Shop::WriteEndpoints() const {
  absl::Status status;
  for (const char* service : {"cart", "catalog", "payment"}) {
    std::vector<std::string> addresses;
    for (size_t i = 0; i < names_.size(); ++i) {
      if (absl::StartsWith(names_[i], absl::StrCat(service, "-"))) {
        addresses.push_back(absl::StrCat("127.0.0.1:", servers_[i].port));
      }
    }
    status.Update(WriteWhole(absl::StrCat(directory_, "/", service, ".yaml"),
                             FormatEndpoints(addresses)));
  }
  return status;
}

size_t Shop::IndexOf(const std::string& server) const {
  return std::find(names_.begin(), names_.end(), server) - names_.begin();
}

}  // namespace shop
