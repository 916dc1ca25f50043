#include "tests/attacks/peer_rows.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/security/crypto_ptr.h"
#include "openssl/core_names.h"
#include "openssl/param_build.h"

namespace mesh::test {
namespace {

using certs::AltName;
using certs::CertificateOptions;
using certs::Extension;
using security::PeerSide;
using security::testing::CurveKey;
using security::testing::Der;
using security::testing::DerOid;
using security::testing::ExplicitCurveKey;
using security::testing::kDnsName;
using security::testing::kEdiPartyName;
using security::testing::kEmailName;
using security::testing::kOtherName;
using security::testing::kSequence;
using security::testing::kUriName;
using security::testing::kUtf8String;
using security::testing::kX400Address;
using security::testing::Must;
using security::testing::NameConstraints;

constexpr AltName::Type kUri = AltName::Type::kUri;
constexpr AltName::Type kDns = AltName::Type::kDns;
constexpr char kWantedDns[] = "dns:cart.prod";

using Change = std::function<void(CertificateOptions*, const Cast&)>;
using MakeKey = std::function<certs::Key()>;

void Nothing(CertificateOptions*, const Cast&) {}

// A leaf of `root` for kCart with a change.
MakeTrial Leaf(const Change& change) {
  return [change](const Cast& cast, PeerSide) {
    CertificateOptions leaf = cast.scene.Svid(kCart);
    change(&leaf, cast);
    return Trial{ShownOf(cast.root, leaf), {}};
  };
}

// A good leaf of another key.
MakeTrial LeafWith(const MakeKey& make_key) {
  return [make_key](const Cast& cast, PeerSide) {
    return Trial{
        ShownOf(cast.root, cast.scene.Svid(kCart), Watched(make_key())), {}};
  };
}

// A leaf below an intermediate with these extensions.
MakeTrial Below(const std::vector<Extension>& extensions,
                const Change& change = Nothing) {
  return [extensions, change](const Cast& cast, PeerSide) {
    CertificateOptions options = cast.scene.AuthorityOptions("constrained");
    options.extensions = extensions;
    const certs::Authority middle =
        Must(cast.root.MakeIntermediate(options, NewKey()));
    CertificateOptions leaf = cast.scene.Svid(kCart);
    change(&leaf, cast);
    return Trial{ShownOf(middle, leaf), {}};
  };
}

// A leaf with these names, each of a kind that mesh-certs makes...
MakeTrial Named(const std::vector<AltName>& names,
                const std::string& common_name = "") {
  return Leaf([=](CertificateOptions* leaf, const Cast&) {
    leaf->names = names;
    leaf->common_name = common_name;
  });
}
MakeTrial NamedId(const std::string& id) { return Named({{kUri, id}}); }
// ...or with these GeneralNames in DER.
MakeTrial NamedDer(const std::string& names) {
  return Leaf([=](CertificateOptions* leaf, const Cast&) {
    leaf->names = {};
    leaf->extensions = {security::testing::AltNamesExtension(names)};
  });
}

// A key whose public half is that of `key`, and whose private half is not:
// OpenSSL takes it for the key of `key`'s certificate.
certs::Key Forged(const certs::Key& key) {
  unsigned char point[256];
  size_t size = 0;
  BIGNUM* number = nullptr;
  EVP_PKEY_get_octet_string_param(key.get(), OSSL_PKEY_PARAM_PUB_KEY, point,
                                  sizeof(point), &size);
  EVP_PKEY_get_bn_param(NewKey().get(), OSSL_PKEY_PARAM_PRIV_KEY, &number);
  const security::BignumPtr owned(number);
  OSSL_PARAM_BLD* const build = OSSL_PARAM_BLD_new();
  OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME,
                                  "prime256v1", 0);
  OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, size);
  OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, number);
  OSSL_PARAM* const parameters = OSSL_PARAM_BLD_to_param(build);
  EVP_PKEY_CTX* const context =
      EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr);
  EVP_PKEY* forged = nullptr;
  EVP_PKEY_fromdata_init(context);
  const bool done =
      EVP_PKEY_fromdata(context, &forged, EVP_PKEY_KEYPAIR, parameters) == 1;
  EVP_PKEY_CTX_free(context);
  OSSL_PARAM_free(parameters);
  OSSL_PARAM_BLD_free(build);
  if (!done) abort();
  return certs::Key(forged);
}

// A leaf at the end of a chain of so many certificates, the root left out.
MakeTrial Long(int count) {
  return [count](const Cast& cast, PeerSide) {
    const certs::Key key = NewKey();
    certs::Authority authority = cast.root;
    for (int i = 1; i < count; ++i) {
      authority = Must(authority.MakeIntermediate(
          cast.scene.AuthorityOptions(absl::StrCat("level ", i)), key));
    }
    return Trial{ShownOf(authority, cast.scene.Svid(kCart)), {}};
  };
}

// A leaf that another leaf has signed, `ca` or not.
MakeTrial BelowALeaf(bool ca) {
  return [ca](const Cast& cast, PeerSide) {
    CertificateOptions upper = cast.scene.Svid("spiffe://prod/upper");
    if (ca) upper = cast.scene.AuthorityOptions("upper");
    upper.common_name = "upper";
    upper.key_usage |= certs::kKeyCertSign;
    const certs::Authority signer =
        Must(cast.root.MakeIntermediate(upper, NewKey()));
    return Trial{ShownOf(signer, cast.scene.Svid(kCart)), {}};
  };
}

// A leaf for DNS names, for this side or for the other one.
MakeTrial OfUse(bool right) {
  return [right](const Cast& cast, PeerSide side) {
    const bool server = (side == PeerSide::kServer) == right;
    const auto& scene = cast.scene;
    return Trial{ShownOf(cast.root,
                         server ? certs::ServerOptions({"cart.prod"},
                                                       scene.from, scene.until)
                                : certs::ClientOptions(
                                      {"cart.prod"}, scene.from, scene.until)),
                 {}};
  };
}

// Policies that are mapped to each other: a tree of them grows with the chain.
std::vector<Extension> PolicyTree(bool mapped) {
  const std::string one = DerOid("1.3.6.1.4.1.99999.1");
  const std::string two = DerOid("1.3.6.1.4.1.99999.2");
  std::string policies;
  std::string mappings;
  for (int i = 0; i < 100; ++i) {
    const std::string policy = DerOid(absl::StrCat("1.3.6.1.4.1.99999.3.", i));
    policies += Der(kSequence, policy);
    mappings += Der(kSequence, policy + one) + Der(kSequence, policy + two);
  }
  std::vector<Extension> extensions = {
      {"2.5.29.32", false, Der(kSequence, policies)}};
  if (mapped) {
    extensions.push_back({"2.5.29.33", false, Der(kSequence, mappings)});
  }
  return extensions;
}

// A constraint on mail addresses with long punycode, and a leaf with an
// internationalised address that it is compared with.
Extension Punycode() {
  return NameConstraints(
      {Der(kEmailName, absl::StrCat("xn--", std::string(505, 'a'), "-",
                                    std::string(300, '9')))},
      {});
}
void WithUtf8Mailbox(CertificateOptions* leaf, const Cast&) {
  const std::string mailbox =
      Der(kOtherName,
          DerOid("1.3.6.1.5.5.7.8.9") + Der(0xa0, Der(kUtf8String, "a@b.c")));
  leaf->names = {};
  leaf->extensions = {
      security::testing::AltNamesExtension(Der(kUriName, kCart) + mailbox)};
}

std::string OtherNameOf(const std::string& text) {
  return Der(kOtherName,
             DerOid("1.3.6.1.4.1.99999.1") + Der(0xa0, Der(kUtf8String, text)));
}

MakeTrial SignedBySelf() {
  return [](const Cast& cast, PeerSide) {
    CertificateOptions self = cast.scene.Svid(kCart);
    self.common_name = "cart";
    const certs::Key key = NewKey();
    return Trial{{Must(certs::Authority::MakeRoot(self, key)).pem(), key}, {}};
  };
}

MakeTrial ByStranger() {
  return [](const Cast& cast, PeerSide) {
    return Trial{ShownOf(cast.stranger, cast.scene.Svid(kCart)), {}};
  };
}

MakeTrial WithForgedKey() {
  return [](const Cast& cast, PeerSide) {
    Shown shown = ShownOf(cast.root, cast.scene.Svid(kCart));
    shown.key = Forged(*shown.key);
    return Trial{shown, {}};
  };
}

// The name of a foreign trust domain, vouched for by its own authority or by
// ours.
MakeTrial Foreign(bool by_its_own) {
  return [by_its_own](const Cast& cast, PeerSide) {
    return Trial{ShownOf(by_its_own ? cast.other : cast.root,
                         cast.scene.Svid("spiffe://other/cart")),
                 {}};
  };
}

// A name of ours, vouched for by a foreign authority.
MakeTrial OursByForeign(const std::vector<AltName>& names) {
  return [names](const Cast& cast, PeerSide) {
    CertificateOptions leaf = cast.scene.Svid(kCart);
    leaf.names = names;
    return Trial{ShownOf(cast.other, leaf), {}};
  };
}

// ---- Lists of revoked certificates ----

using MakeLists = std::function<std::vector<std::string>(const Cast& cast)>;

// A leaf of `middle` with this serial number, and lists.
MakeTrial Listed(const MakeLists& lists, const std::string& serial = "77",
                 const std::vector<Extension>& extensions = {}) {
  return [=](const Cast& cast, PeerSide) {
    CertificateOptions leaf = cast.scene.Svid(kCart);
    leaf.serial = serial;
    leaf.extensions = extensions;
    return Trial{ShownOf(cast.middle, leaf), lists(cast)};
  };
}

// The good lists of both authorities, with these numbers on them.
MakeLists Both(const std::vector<std::string>& by_root,
               const std::vector<std::string>& by_middle) {
  return [=](const Cast& cast) -> std::vector<std::string> {
    return {cast.scene.Crl(cast.root, by_root),
            cast.scene.Crl(cast.middle, by_middle)};
  };
}

// A list of `middle` that holds until so long after now.
MakeLists HoldsFor(absl::Duration left) {
  return [left](const Cast& cast) -> std::vector<std::string> {
    certs::CrlOptions options;
    options.this_update = cast.scene.from;
    options.next_update = cast.scene.now + left;
    return {cast.scene.Crl(cast.root), Must(cast.middle.MakeCrl(options))};
  };
}

std::vector<std::string> MiddleRevoked(const Cast& cast) {
  return {
      cast.scene.Crl(cast.root, {Must(certs::SerialOfPem(cast.middle.pem()))}),
      cast.scene.Crl(cast.middle)};
}

std::vector<std::string> OnlyOfRoot(const Cast& cast) {
  return {cast.scene.Crl(cast.root)};
}

std::vector<std::string> OnlyOfMiddle(const Cast& cast) {
  return {cast.scene.Crl(cast.middle)};
}

// The list of `middle` is signed with another key.
std::vector<std::string> SignedByAnother(const Cast& cast) {
  static const auto* const other =
      new certs::Authority(cast.scene.MakeBelow(cast.root, "middle"));
  return {cast.scene.Crl(cast.root), cast.scene.Crl(*other)};
}

// 100,000 entries, "77" among them.
std::vector<std::string> VeryLong(const Cast& cast) {
  static const auto* const list = [&cast] {
    std::vector<std::string> revoked = {"77"};
    for (int i = 1; i < 100000; ++i) {
      revoked.push_back(absl::StrCat("7f", absl::Hex(i, absl::kZeroPad16)));
    }
    return new std::string(cast.scene.Crl(cast.middle, std::move(revoked)));
  }();
  return {cast.scene.Crl(cast.root), *list};
}

Extension PointAt(const std::string& name) {
  return security::testing::DistributionPoints(name);
}

}  // namespace

// A table.
std::vector<PeerRow> HandshakeRows() {
  const auto expires = [](absl::Duration left) {
    return Leaf([left](CertificateOptions* leaf, const Cast& cast) {
      leaf->not_after = cast.scene.now + left;
    });
  };
  const auto begins = [](absl::Duration until) {
    return Leaf([until](CertificateOptions* leaf, const Cast& cast) {
      leaf->not_before = cast.scene.now + until;
    });
  };
  const auto used_for = [](unsigned key_usage) {
    return Leaf([key_usage](CertificateOptions* leaf, const Cast&) {
      leaf->key_usage = key_usage;
    });
  };
  const auto purposes = [](const std::vector<std::string>& purposes) {
    return Leaf([purposes](CertificateOptions* leaf, const Cast&) {
      leaf->purposes = purposes;
    });
  };
  const auto signed_with = [](certs::Digest digest) {
    return Leaf([digest](CertificateOptions* leaf, const Cast&) {
      leaf->digest = digest;
    });
  };
  const auto rsa = [](int bits) {
    return LeafWith(
        [bits] { return Must(certs::Key::Make(certs::KeyType::kRsa, bits)); });
  };
  const auto curve = [](const char* name) {
    return LeafWith([name] { return CurveKey(name); });
  };
  const MakeTrial good = Leaf(Nothing);
  const absl::Duration soon = absl::Minutes(10);
  const std::string prod = Der(kUriName, "prod");
  const std::string other = Der(kUriName, "other");
  return {
      {"SignedByItself", SignedBySelf(), good},
      {"OtherAuthorityOfTheSameName", ByStranger(), good},
      {"Expired", expires(-absl::Seconds(1)), expires(soon)},
      {"Future", begins(soon), begins(-absl::Seconds(1))},
      {"WrongUsageForTheSide", OfUse(false), OfUse(true), {kWantedDns}},
      {"SvidForServersOnly", purposes({"serverAuth"}),
       purposes({"serverAuth", "clientAuth"})},
      {"SvidForClientsOnly", purposes({"clientAuth"}), purposes({})},
      {"SvidForMail", purposes({"emailProtection"}),
       purposes({"serverAuth", "clientAuth", "emailProtection"})},
      {"AuthorityAsLeaf", Leaf([](CertificateOptions* leaf, const Cast&) {
         leaf->authority = true;
         leaf->key_usage |= certs::kKeyCertSign;
       }),
       good},
      {"LeafThatMaySignCertificates",
       used_for(certs::kDigitalSignature | certs::kKeyCertSign),
       used_for(certs::kDigitalSignature | certs::kKeyEncipherment)},
      {"LeafThatMaySignLists",
       used_for(certs::kDigitalSignature | certs::kCrlSign), good},
      {"LeafAsAuthority", BelowALeaf(false), BelowALeaf(true)},
      {"Rsa1024", rsa(1024), rsa(2048)},
      {"Sha1", signed_with(certs::Digest::kSha1),
       signed_with(certs::Digest::kSha384)},
      // CVE-2022-0778.
      {"ExplicitCurveParameters", LeafWith(ExplicitCurveKey),
       curve("prime256v1")},
      {"OtherCurve", curve("secp521r1"), curve("secp384r1")},
      {"KeyOfAnother", WithForgedKey(), good},
      {"FortyCertificates", Long(40), Long(8)},
      {"NineCertificates", Long(9), Long(8)},
      // CVE-2023-0464.
      {"PolicyTree", Below(PolicyTree(true)), Below(PolicyTree(false))},
      {"ExcludedByNameConstraints", Below({NameConstraints({}, {prod})}),
       Below({NameConstraints({}, {other})})},
      {"NotPermittedByNameConstraints", Below({NameConstraints({other}, {})}),
       Below({NameConstraints({prod}, {})})},
      // CVE-2022-3602.
      {"PunycodeInNameConstraints", Below({Punycode()}, WithUtf8Mailbox),
       Below({Punycode()})},
      {"UnknownCriticalExtension",
       Below({{"1.3.6.1.4.1.99999.1", true, Der(0x05, "")}}),
       Below({{"1.3.6.1.4.1.99999.1", false, Der(0x05, "")}})},
  };
}

// A table.
std::vector<PeerRow> NameRows() {
  const std::string admin = "spiffe://prod/admin";
  const std::string web = "https://prod/cart";
  const std::string start = "spiffe://prod/";
  const auto id_of_size = [start](size_t size) {
    return NamedId(start + std::string(size - start.size(), 'a'));
  };
  const MakeTrial good = NamedId(kCart);
  const AltName uri = {kUri, kCart};
  const std::vector<std::string> any = {"spiffe://prod/*"};
  const std::vector<std::string> below_cart = {"spiffe://prod/cart/*"};
  const std::vector<std::string> dns = {kWantedDns};
  return {
      {"AnotherService", NamedId(admin), good},
      {"TwoUris", Named({uri, {kUri, admin}}), good},
      {"TwoUrisInTheOtherOrder", Named({{kUri, admin}, uri}), good},
      {"TheSameUriTwice", Named({uri, uri}), good},
      {"AUriMoreThatIsNotSpiffe", Named({uri, {kUri, web}}),
       Named({uri, {kDns, "cart.prod"}})},
      {"AUriBeforeThatIsNotSpiffe", Named({{kUri, web}, uri}),
       Named({{kDns, "cart.prod"}, uri})},
      {"NulInTheUri", NamedId(std::string("spiffe://prod/cart\0.evil", 24)),
       good},
      {"NulInTheTrustDomain", NamedId(std::string("spiffe://prod\0/cart", 19)),
       good},
      {"NulInADnsName", Named({{kDns, std::string("cart.prod\0.evil", 15)}}),
       Named({{kDns, "cart.prod"}}), dns},
      {"NulInADnsNameBesideAGoodUri",
       Named({uri, {kDns, std::string("cart.prod\0.evil", 15)}}),
       Named({uri, {kDns, "cart.prod"}})},
      {"SpiffeIdAsDnsName", NamedDer(Der(kDnsName, kCart)),
       NamedDer(Der(kUriName, kCart))},
      // CVE-2022-21656, CVE-2024-6119.
      {"SpiffeIdAsOtherName", NamedDer(OtherNameOf(kCart)),
       NamedDer(OtherNameOf(admin) + Der(kUriName, kCart))},
      {"SpiffeIdAsMailAddress", NamedDer(Der(kEmailName, kCart)),
       NamedDer(Der(kEmailName, "a@b.c") + Der(kUriName, kCart))},
      {"SpiffeIdAsCommonName", Named({}, kCart), Named({uri}, "x")},
      {"SpiffeIdAsCommonNameBesideAnother", Named({{kUri, admin}}, kCart),
       Named({uri}, admin)},
      {"DnsNameAsCommonName", Named({}, "cart.prod"),
       Named({{kDns, "cart.prod"}}, "x"), dns},
      {"ForeignNameOfOurAuthority",
       Foreign(false),
       Foreign(true),
       {"spiffe://other/cart"}},
      {"OurNameOfAForeignAuthority", OursByForeign({uri}), good},
      {"DnsNameOfAForeignAuthority", OursByForeign({{kDns, "cart.prod"}}),
       Named({{kDns, "cart.prod"}}), dns},
      {"UpperCaseScheme", NamedId("SPIFFE://prod/cart"), good, any},
      {"UpperCaseTrustDomain", NamedId("spiffe://PROD/cart"), good, any},
      {"UpperCasePath", NamedId("spiffe://prod/Cart"), good},
      {"PercentInThePath", NamedId("spiffe://prod/c%61rt"), good, any},
      {"PercentInTheTrustDomain", NamedId("spiffe://pr%6fd/cart"), good, any},
      {"SlashAtTheEnd", NamedId("spiffe://prod/cart/"), good, any},
      {"DotDot", NamedId("spiffe://prod/cart/../admin"),
       NamedId("spiffe://prod/cart/admin"), any},
      {"Dot", NamedId("spiffe://prod/./cart"), NamedId("spiffe://prod/.cart"),
       any},
      {"TwoSlashes", NamedId("spiffe://prod//cart"), good, any},
      {"Port", NamedId("spiffe://prod:443/cart"), good, any},
      {"Query", NamedId("spiffe://prod/cart?x"), good, any},
      {"Fragment", NamedId("spiffe://prod/cart#x"), good, any},
      {"NoWholeSegment", NamedId("spiffe://prod/cart-evil"),
       NamedId("spiffe://prod/cart/evil"), below_cart},
      {"TheParentItself", good, NamedId("spiffe://prod/cart/x"), below_cart},
      {"IdOf2049Bytes", id_of_size(2049), id_of_size(2048), any},
      {"NoPath", NamedId("spiffe://prod"), NamedId("spiffe://prod/x"), any},
      {"WildcardDnsName", Named({{kDns, "*.prod"}}),
       Named({{kDns, "Cart.Prod"}}), dns},
  };
}

// A table.
std::vector<PeerRow> RevocationRows() {
  const std::string x400 = Der(kX400Address, Der(kSequence, ""));
  const std::string edi =
      Der(kEdiPartyName, Der(0xa1, Der(kUtf8String, "party")));
  const MakeTrial good = Listed(Both({}, {"78"}));
  return {
      {"Leaf", Listed(Both({}, {"78", "77"})), good},
      {"Intermediate", Listed(MiddleRevoked), Listed(Both({"77"}, {}))},
      {"ListOfTheLeafsIssuerMissing", Listed(OnlyOfRoot), good},
      {"ListOfTheRootMissing", Listed(OnlyOfMiddle), good},
      {"ListExpired", Listed(HoldsFor(-absl::Seconds(1))),
       Listed(HoldsFor(absl::Minutes(10)))},
      {"ListSignedByAnother", Listed(SignedByAnother), good},
      {"ListOf100000Entries", Listed(VeryLong), Listed(VeryLong, "78")},
      // CVE-2023-0286 and CVE-2020-1971 are in how names of lists and of
      // points of distribution are compared.
      {"PointWithX400Address", Listed(Both({}, {"77"}), "77", {PointAt(x400)}),
       Listed(Both({}, {"78"}), "77", {PointAt(x400)})},
      {"PointWithEdiPartyName", Listed(Both({}, {"77"}), "77", {PointAt(edi)}),
       Listed(Both({}, {"78"}), "77", {PointAt(edi)})},
  };
}

}  // namespace mesh::test
