import { describe, expect, test } from "vitest";
import { FeedError } from "../../services/feeds/errors.ts";
import { AddressGuard, parseFeedUrl } from "../../services/feeds/guard.ts";

const guard = new AddressGuard();

describe("an address that is not public is refused", () => {
  test.each([
    ["127.0.0.1", "loopback"],
    ["127.255.0.9", "loopback"],
    ["0.0.0.0", "this host"],
    ["0.1.2.3", "this network"],
    ["10.0.0.1", "private"],
    ["172.16.0.1", "private"],
    ["172.31.255.255", "private"],
    ["192.168.1.1", "private"],
    ["169.254.169.254", "link-local, where clouds keep credentials"],
    ["168.63.129.16", "public by its number, but the host of a virtual machine in Azure"],
    ["::ffff:168.63.129.16", "the same, IPv4-mapped"],
    ["100.64.0.1", "carrier-grade NAT"],
    ["192.0.0.1", "protocol assignments"],
    ["192.0.2.7", "documentation"],
    ["198.18.0.1", "benchmarking"],
    ["198.51.100.1", "documentation"],
    ["203.0.113.1", "documentation"],
    ["224.0.0.1", "multicast"],
    ["240.0.0.1", "reserved"],
    ["255.255.255.255", "broadcast"],
    ["::", "unspecified"],
    ["::1", "loopback"],
    ["::ffff:127.0.0.1", "IPv4-mapped loopback"],
    ["::ffff:10.0.0.1", "IPv4-mapped private"],
    ["::ffff:a9fe:a9fe", "IPv4-mapped link-local, in hex"],
    ["::127.0.0.1", "IPv4-compatible"],
    ["::ffff:0:8.8.8.8", "IPv4-translated"],
    ["64:ff9b::7f00:1", "NAT64 of loopback"],
    ["64:ff9b::808:808", "NAT64 of a public address"],
    ["64:ff9b:1::1", "local NAT64"],
    ["2002:7f00:1::", "6to4 of loopback"],
    ["2001:0:1::1", "Teredo"],
    ["2001:db8::1", "documentation"],
    ["2001:2::1", "benchmarking"],
    ["3fff::1", "documentation"],
    ["fc00::1", "unique local"],
    ["fd12:3456::1", "unique local"],
    ["fe80::1", "link-local"],
    ["fe80::1%eth0", "link-local with a zone"],
    ["fec0::1", "site-local"],
    ["ff02::1", "multicast"],
    ["100::1", "discard"],
    ["5f00::1", "segment routing"],
    ["4000::1", "not assigned"],
    ["localhost", "not an address"],
    ["127.1", "a short form"],
    ["0x7f000001", "a hex form"],
    ["", "nothing"],
  ])("%s (%s)", (address) => {
    expect(guard.refusal(address)).toBeTypeOf("string");
  });
});

describe("a public address may be read", () => {
  test.each(["8.8.8.8", "93.184.215.14", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8"])(
    "%s",
    (address) => {
      expect(guard.refusal(address)).toBeUndefined();
    },
  );
});

test("allowAddresses opens what it lists, and nothing else", () => {
  const open = new AddressGuard({ allowAddresses: ["127.0.0.1", "10.1.0.0/16", "fd00:1::/32"] });
  const may = (address: string): boolean => open.refusal(address) === undefined;
  expect(["127.0.0.1", "::ffff:127.0.0.1", "10.1.200.3", "fd00:1::5"].filter(may)).toHaveLength(4);
  expect(["127.0.0.2", "10.2.0.1", "fd00:2::5", "::1"].filter(may)).toEqual([]);
});

test.each(["localhost", "127.0.0.1/33", "127.0.0.1/", "10.0.0.0/x", "", "fd00::/129"])(
  "allowAddresses refuses %j",
  (entry) => {
    expect(() => new AddressGuard({ allowAddresses: [entry] })).toThrow(TypeError);
  },
);

test.each([
  ["ftp://a.example/feed", "scheme"],
  ["file:///etc/passwd", "scheme"],
  ["javascript:alert(1)", "scheme"],
  ["//a.example/feed", "relative"],
  ["a.example/feed", "relative"],
  ["http://user:secret@a.example/feed", "credentials"],
  ["http://user@a.example/feed", "credentials"],
  [`http://a.example/${"x".repeat(3_000)}`, "length"],
  ["http://", "no host"],
])("the URL %s is refused (%s)", (url) => {
  expect(() => parseFeedUrl(url)).toThrow(FeedError);
});

test("a URL with another spelling of a loopback address is normalised before it is judged", () => {
  expect(parseFeedUrl("http://0x7f.1/feed").hostname).toBe("127.0.0.1");
  expect(parseFeedUrl("http://2130706433/feed#x").href).toBe("http://127.0.0.1/feed");
});
