#ifndef EXAMPLES_SHOP_SHOP_H_
#define EXAMPLES_SHOP_SHOP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/shop/certificates.h"
#include "examples/shop/experiment.h"
#include "examples/shop/panel.h"
#include "examples/shop/process.h"

namespace shop {

// The shop's processes in one arm of the demo, and what can be done to them.
// One thread. All processes end with the object.
class Shop {
 public:
  // Starts three carts, three catalogs, two payments and a frontend, each with
  // a certificate. `programs`: where they are. `directory`: an empty one for
  // the files of this shop; it has to outlive it.
  static absl::StatusOr<std::unique_ptr<Shop>> Open(
      const std::string& arm, const std::string& programs,
      const std::string& directory);

  // By name: "cart-1" to "payment-2".
  const std::vector<std::string>& server_names() const { return names_; }

  // Signals a server. A killed one keeps its place in the endpoints file.
  void Signal(const std::string& server, int signal);
  // Starts a killed server again on the port that it had.
  absl::Status Restart(const std::string& server);
  // Puts a new server on a new port in its place: the new one starts and is
  // written to the endpoints file, then the old one gets SIGTERM.
  absl::Status Replace(const std::string& server);
  // Gives all processes new keys and certificates; see Certificates.
  absl::Status RotateCertificates() { return certificates_->Rotate(); }
  // How often an authority was withdrawn from all of them.
  uint64_t withdrawn_authorities() const { return certificates_->withdrawn(); }
  // The knobs and counters of a server.
  Panel& panel(const std::string& server);
  // What the frontend's clients counted.
  const Panel& clients() const { return *frontend_panel_; }

  // Starts the visitors. Results go to results_path().
  absl::Status StartLoad(double rate, double seconds);
  bool LoadEnded() { return load_->Ended(); }
  std::string results_path() const { return directory_ + "/results"; }
  // What the processes wrote to stderr.
  std::string log_path() const { return directory_ + "/log"; }

  Sample TakeSample() const;
  // Orders in the payment servers' ledger more than once.
  uint64_t ChargedTwice() const;
  // Not OK when a process ended that should not have.
  absl::Status Check();

 private:
  struct Server {
    std::string program;  // "cart_server"
    Panel* panel = nullptr;
    std::unique_ptr<Process> process;
    int port = 0;  // The port of the last process.
  };

  Shop(std::string arm, std::string programs, std::string directory)
      : arm_(std::move(arm)),
        programs_(std::move(programs)),
        directory_(std::move(directory)) {}

  absl::StatusOr<std::unique_ptr<Process>> StartServer(const std::string& name,
                                                       int port);
  absl::Status WriteEndpoints() const;
  size_t IndexOf(const std::string& server) const;

  const std::string arm_;
  const std::string programs_;
  const std::string directory_;

  std::unique_ptr<Certificates> certificates_;
  std::vector<std::string> names_;
  std::vector<Server> servers_;                    // As names_.
  std::vector<std::unique_ptr<Process>> leaving_;  // Replaced, finishing.
  Panel* frontend_panel_ = nullptr;
  std::unique_ptr<Process> frontend_;
  std::unique_ptr<Process> load_;
};

}  // namespace shop

#endif  // EXAMPLES_SHOP_SHOP_H_
