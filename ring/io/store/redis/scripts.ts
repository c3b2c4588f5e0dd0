/**
 * What runs inside Redis: the fence, the changes, the pages, the lease.
 *
 *   PREFIX:{P}         hash: the rows of partition P; the empty field holds its term (12 bytes) and sequence (decimal)
 *   PREFIX:{P}:index   sorted set: keys of rows that are looked for by prefix
 *   PREFIX:{P}:aside   hash: set-aside partitions, number → JSON of why; PREFIX:{P}:aside:N their rows
 *   PREFIX:{ring}      hash: which ring and which store this is
 *   PREFIX:{ring}:nodes  hash: member → expiry of its lease, in ms of Redis' clock, and its beat
 *   PREFIX:{ring}:seat   hash: what the ring's only voter said (`seat.ts`)
 *
 * R1  Nothing of a partition changes unless the writer's term is the one in the hash, or newer.
 * R2  Every group of an owner has the next sequence number. A number that was applied already is answered and not applied
 *     again: so a call whose answer was lost can be repeated, and a late copy of it changes nothing.
 * R3  A sequence that went backwards, or a term that is gone, shows that Redis has lost what it had acknowledged. From then on
 *     nothing of that opening is written: a group without a sequence is not taken by an opening that counts.
 * R4  A script fails before its first write or not at all: with the memory full Redis refuses the first one; `reserve`
 *     makes that one a write which it never refuses. Leases and openings are always taken: without them nothing would end
 *     that makes room.
 */

/** Of two terms. */
const COMPARE = `
local function compare(a, b)
  local a1, a2, a3 = struct.unpack('>I4I4I4', a)
  local b1, b2, b3 = struct.unpack('>I4I4I4', b)
  if a1 ~= b1 then return a1 - b1 end
  if a2 ~= b2 then return a2 - b2 end
  return a3 - b3
end`;

/**
 * KEYS: rows hash, index of each item. ARGV: reserve ("0" or "1"), then five per item: "w" or "o", term (12 bytes),
 * sequence ("0": not counted), expected sequence, blob (`pack.ts`). Answers two numbers per item: a verdict and the hash's
 * length, or for "o" the number of openings.
 */
export const WRITE: string = `
if ARGV[1] == '1' then redis.call('DEL', KEYS[1] .. ':none') end
local out = {}
local call = redis.call
local function each(command, key, list)
  local count = #list
  if count <= 4000 then
    if count == 0 then return 0 end
    return call(command, key, unpack(list))
  end
  local sum = 0
  for from = 1, count, 4000 do
    local to = from + 3999
    if to > count then to = count end
    sum = sum + call(command, key, unpack(list, from, to))
  end
  return sum
end
${COMPARE}
local items = #KEYS / 2
for item = 1, items do
  local key = KEYS[2 * item - 1]
  local at = 5 * item - 3
  local term = ARGV[at + 1]
  local meta = call('HGET', key, '')
  local verdict, number = 0, 0
  if ARGV[at] == 'o' then
    local h, g = struct.unpack('>I4I4', term)
    local opens = 1
    if meta then
      local mh, mg, mo = struct.unpack('>I4I4I4', meta)
      if mh > h or (mh == h and mg > g) then verdict = 1
      elseif mg == g then opens = mo + 1 end
    end
    if verdict == 0 then call('HSET', key, '', struct.pack('>I4I4I4', h, g, opens) .. '0') end
    number = opens
  else
    local sequence = tonumber(ARGV[at + 2])
    if sequence == 0 then
      local order = meta and compare(string.sub(meta, 1, 12), term) or -1
      if order > 0 then verdict = 1
      elseif order == 0 and string.sub(meta, 13) ~= '0' then verdict = 3 end
    elseif not meta then verdict = 4
    elseif string.sub(meta, 1, 12) == term then
      local last = tonumber(string.sub(meta, 13))
      if last >= sequence then verdict = 2
      elseif last ~= tonumber(ARGV[at + 3]) then verdict = 3 end
    elseif compare(string.sub(meta, 1, 12), term) > 0 then verdict = 1
    else verdict = 3 end
    if verdict == 0 then
      local puts, dels, indexed, unindexed = cmsgpack.unpack(ARGV[at + 4])
      each('HDEL', key, dels)
      if each('HDEL', key, unindexed) > 0 then each('ZREM', KEYS[2 * item], unindexed) end
      local count = #puts
      puts[count + 1] = ''
      puts[count + 2] = term .. ARGV[at + 2]
      each('HSET', key, puts)
      if each('HSET', key, indexed) > 0 then
        for entry = 1, #indexed, 2 do
          indexed[entry], indexed[entry + 1] = '0', indexed[entry]
        end
        each('ZADD', KEYS[2 * item], indexed)
      end
    end
    number = call('HLEN', key)
  end
  out[2 * item - 1] = verdict
  out[2 * item] = number
end
return out
`;

/** KEYS: rows hash, index. ARGV: lower and upper bound, most keys. Answers keys and values by turns. */
export const INDEXED_PAGE = `
local keys = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
if #keys == 0 then return {} end
local values = redis.call('HMGET', KEYS[1], unpack(keys))
local out = {}
for at = 1, #keys do
  if values[at] then
    out[#out + 1] = keys[at]
    out[#out + 1] = values[at]
  end
end
return out
`;

/** KEYS: rows hash, index. ARGV: the term under which it was opened. Answers 1, or 0 (R1). */
export const DROP: string = `${COMPARE}
local meta = redis.call('HGET', KEYS[1], '')
if meta and compare(string.sub(meta, 1, 12), ARGV[1]) > 0 then return 0 end
redis.call('UNLINK', KEYS[1], KEYS[2])
return 1
`;

/**
 * KEYS: rows hash, index, aside. ARGV: the term under which it was opened, JSON of why, how often at most. Answers how many
 * rows were set aside, -1 if a newer term owns the partition (R1), -2 if it was set aside too often.
 */
export const SET_ASIDE: string = `${COMPARE}
local meta = redis.call('HGET', KEYS[1], '')
if meta and compare(string.sub(meta, 1, 12), ARGV[1]) > 0 then return -1 end
local rows = redis.call('HLEN', KEYS[1])
if rows == 0 then return 0 end
local number = redis.call('HLEN', KEYS[3]) + 1
if number > tonumber(ARGV[3]) then return -2 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[3], number, ARGV[2])
redis.call('RENAME', KEYS[1], KEYS[3] .. ':' .. number)
return rows - 1
`;

/**
 * The lease. KEYS: store hash, nodes hash, seat (`seat.ts`). ARGV: member, its process (random), the store's id as known here ("" for none),
 * ring id, lease ms, beat, id for a new store. Answers {verdict, store id, ring id, own beat as stored, now in ms, whose
 * the seat is, its holder, its token and the holder's lease, then member and what is left of its lease by turns}. What is no lease
 * is nobody's; of its own place a member cannot tell what was there (`unreadable`), and writes it anew. Verdicts: 0 held, 1 another process of the member holds it, 2 this store is not
 * the one that was known, 3 it belongs to another ring.
 */
export const RENEW = `
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local store = redis.call('HMGET', KEYS[1], 'id', 'ring')
local id, ring = store[1], store[2]
if not id then
  if ARGV[3] ~= '' or ARGV[7] == '' then return {2, '', '', '-1', tostring(now)} end
  id = ARGV[7]
  ring = ARGV[4]
  redis.call('HSET', KEYS[1], 'id', id, 'ring', ring, 'made', now)
end
if ARGV[3] ~= '' and ARGV[3] ~= id then return {2, id, ring, '-1', tostring(now)} end
if ARGV[4] ~= '' and ring ~= ARGV[4] then return {3, id, ring, '-1', tostring(now)} end
local nodes = redis.call('HGETALL', KEYS[2])
local seat = redis.call('HMGET', KEYS[3], 'of', 'holder', 'token', 'name')
local held = seat[4] and redis.call('HGET', KEYS[2], seat[4]) or ''
local out = {0, id, ring, '-1', tostring(now), seat[1] or '', seat[2] or '', seat[3] or '', held or ''}
for at = 1, #nodes, 2 do
  local expires, process, beat = string.match(nodes[at + 1], '^(%d+) (%S+) (%d+)$')
  if not expires then
    if nodes[at] == ARGV[1] then out[4] = 'unreadable' end
  elseif nodes[at] == ARGV[1] then
    if process == ARGV[2] then out[4] = beat
    elseif tonumber(expires) > now then out[1] = 1 end
  else
    local left = tonumber(expires) - now
    if left < -86400000 then redis.call('HDEL', KEYS[2], nodes[at])
    else
      out[#out + 1] = nodes[at]
      out[#out + 1] = tostring(left)
    end
  end
end
if out[1] == 0 then
  redis.call('DEL', KEYS[2] .. ':none')
  redis.call('HSET', KEYS[2], ARGV[1], (now + tonumber(ARGV[5])) .. ' ' .. ARGV[2] .. ' ' .. ARGV[6])
end
return out
`;

/** KEYS: nodes hash. ARGV: member, its process. Gives the lease back. */
export const RELEASE = `
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and string.match(held, '^%d+ (%S+) %d+$') == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
`;
