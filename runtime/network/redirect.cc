#include "runtime/network/redirect.h"

#include <array>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/u32.h>
#include <netlink/route/link.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/tc.h>
#include <sys/ioctl.h>

namespace kata::network {
namespace {

using Link = NlOwner<rtnl_link, rtnl_link_put>;
using Qdisc = NlOwner<rtnl_qdisc, rtnl_qdisc_put>;
using Classifier = NlOwner<rtnl_cls, rtnl_cls_put>;
using Action = NlOwner<rtnl_act, rtnl_act_put>;

constexpr uint32_t kIngressHandle = TC_H_MAKE(TC_H_INGRESS, 0);

/// `modules`: the kernel loads them when they are first asked for, if it finds them.
Status kernel_status(std::string_view what, std::string_view modules, int answer) {
  if (answer != -NLE_OBJ_NOTFOUND) return netlink_status(what, answer);
  return fail(Code::kFailedPrecondition,
              "{}: the host's kernel has none: load its modules (modprobe --all {})", what,
              modules);
}

Qdisc ingress_of(int index) {
  Qdisc qdisc(rtnl_qdisc_alloc());
  rtnl_tc_set_ifindex(TC_CAST(qdisc.get()), index);
  rtnl_tc_set_parent(TC_CAST(qdisc.get()), TC_H_INGRESS);
  rtnl_tc_set_handle(TC_CAST(qdisc.get()), kIngressHandle);
  rtnl_tc_set_kind(TC_CAST(qdisc.get()), "ingress");
  return qdisc;
}

/// Whether the ingress of `interface` is what a pod that was killed has left: all that it does is
/// to redirect to a tap that has gone.
bool is_left_over(const NlSocket& socket, int interface) {
  nl_cache* filters = nullptr;
  if (rtnl_cls_alloc_cache(socket.get(), interface, kIngressHandle, &filters) < 0) return false;
  const NlCache owner(filters);
  size_t redirects = 0;
  size_t others = 0;
  for_each<rtnl_cls>(owner, [&](rtnl_cls* filter) {
    const char* kind = rtnl_tc_get_kind(TC_CAST(filter));
    rtnl_act* action =
        kind != nullptr && kind == std::string_view("u32") ? rtnl_u32_get_action(filter) : nullptr;
    const char* what = action != nullptr ? rtnl_tc_get_kind(TC_CAST(action)) : nullptr;
    // u32's table of hashes is listed as a filter, too.
    if (action == nullptr && kind != nullptr && kind == std::string_view("u32")) return;
    std::array<char, IF_NAMESIZE> name{};
    if (what != nullptr && what == std::string_view("mirred") &&
        ::if_indextoname(rtnl_mirred_get_ifindex(action), name.data()) == nullptr)
      ++redirects;
    else
      ++others;
  });
  return redirects > 0 && others == 0;
}

Status add_ingress(const NlSocket& socket, int index) {
  const Qdisc ingress = ingress_of(index);
  int answer = rtnl_qdisc_add(socket.get(), ingress.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (answer == -NLE_EXIST && is_left_over(socket, index)) {
    KATA_CHECK(end_redirect(socket, index));
    answer = rtnl_qdisc_add(socket.get(), ingress.get(), NLM_F_CREATE | NLM_F_EXCL);
  }
  if (answer == -NLE_EXIST)
    return fail(Code::kFailedPrecondition,
                "the interface has an ingress qdisc of somebody else: remove it (tc qdisc del dev "
                "<interface> ingress)");
  return kernel_status("add an ingress qdisc", "sch_ingress", answer);
}

Status change(const NlSocket& socket, int index, const Link& wanted) {
  const Link which(rtnl_link_alloc());
  rtnl_link_set_ifindex(which.get(), index);
  return netlink_status("change an interface",
                        rtnl_link_change(socket.get(), which.get(), wanted.get(), 0));
}

/// Every packet that comes in at `from` goes out at `to`.
Status add_filter(const NlSocket& socket, int from, int to) {
  const Action action(rtnl_act_alloc());
  KATA_CHECK(netlink_status("mirred", rtnl_tc_set_kind(TC_CAST(action.get()), "mirred")));
  rtnl_mirred_set_action(action.get(), TCA_EGRESS_REDIR);
  rtnl_mirred_set_policy(action.get(), TC_ACT_STOLEN);
  rtnl_mirred_set_ifindex(action.get(), static_cast<uint32_t>(to));

  const Classifier filter(rtnl_cls_alloc());
  rtnl_tc_set_ifindex(TC_CAST(filter.get()), from);
  rtnl_tc_set_parent(TC_CAST(filter.get()), kIngressHandle);
  KATA_CHECK(netlink_status("u32", rtnl_tc_set_kind(TC_CAST(filter.get()), "u32")));
  rtnl_cls_set_protocol(filter.get(), ETH_P_ALL);
  // No bit of the packet matters.
  rtnl_u32_add_key_uint32(filter.get(), 0, 0, 0, 0);
  rtnl_u32_set_cls_terminal(filter.get());
  KATA_CHECK(netlink_status("u32", rtnl_u32_add_action(filter.get(), action.get())));
  return kernel_status("add a filter that redirects", "cls_u32 act_mirred",
                       rtnl_cls_add(socket.get(), filter.get(), NLM_F_CREATE));
}

Result<UniqueFd> open_queue(const std::string& tap, int flags) {
  UniqueFd queue(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!queue && errno == ENOENT)
    return fail(Code::kFailedPrecondition,
                "open /dev/net/tun: the host has none: load its module (modprobe tun)");
  if (!queue) return fail_errno("open /dev/net/tun");
  ifreq request{};
  if (tap.size() >= sizeof(request.ifr_name))
    return fail(Code::kInvalidArgument, "\"{}\" is too long for an interface's name", tap);
  std::memcpy(request.ifr_name, tap.data(), tap.size());
  request.ifr_flags = static_cast<short>(flags);
  if (::ioctl(queue.get(), TUNSETIFF, &request) == 0) return queue;
  if (errno == EBUSY)
    return fail(Code::kFailedPrecondition,
                "another VM has it already (by {}): a network namespace is one pod's", tap);
  return fail_errno(fmt::format("make the tap {}", tap));
}

}  // namespace

Result<Tap> open_tap(const std::string& name, uint32_t queues) {
  Tap tap;
  // Packets go with the header in which segments and checksums are left for the other side to do.
  int flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (queues > 1) flags |= IFF_MULTI_QUEUE;
  while (tap.queues.size() < queues) {
    // Only the first makes it, the others join.
    const int exclusive = tap.queues.empty() ? IFF_TUN_EXCL : 0;
    KATA_TRY(UniqueFd queue, open_queue(name, flags | exclusive));
    tap.queues.push_back(std::move(queue));
  }
  tap.index = static_cast<int>(::if_nametoindex(name.c_str()));
  if (tap.index == 0) return fail_errno(fmt::format("find the tap {}", name));
  return tap;
}

Status set_up(const NlSocket& socket, int index, uint32_t mtu) {
  const Link wanted(rtnl_link_alloc());
  if (mtu != 0) rtnl_link_set_mtu(wanted.get(), mtu);
  rtnl_link_set_flags(wanted.get(), IFF_UP);
  return change(socket, index, wanted);
}

Status set_queue_length(const NlSocket& socket, int index, uint32_t packets) {
  const Link wanted(rtnl_link_alloc());
  rtnl_link_set_txqlen(wanted.get(), packets);
  return change(socket, index, wanted);
}

Status redirect(const NlSocket& socket, int interface, int tap) {
  KATA_CHECK(add_ingress(socket, tap));
  KATA_CHECK(add_filter(socket, tap, interface));
  KATA_CHECK(add_ingress(socket, interface));
  Status added = add_filter(socket, interface, tap);
  if (!added) (void)end_redirect(socket, interface);
  return added;
}

Status end_redirect(const NlSocket& socket, int interface) {
  const int answer = rtnl_qdisc_delete(socket.get(), ingress_of(interface).get());
  const bool has_gone = answer == -NLE_NODEV || answer == -NLE_OBJ_NOTFOUND;
  return has_gone ? Status{} : netlink_status("remove the ingress qdisc", answer);
}

}  // namespace kata::network
