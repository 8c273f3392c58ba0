-- States, one byte a mail. Three of them are "queued" to the outside.
local QUEUED, WAITING, ALONE = ('q'):byte(), ('w'):byte(), ('o'):byte() -- due; due later; due, to be claimed alone
local SENDING, IN_DOUBT = ('s'):byte(), ('d'):byte()
local ACCEPTED, REJECTED, EXHAUSTED = ('a'):byte(), ('r'):byte(), ('x'):byte()
local EXPIRED, CANCELLED, UNRESOLVED = ('e'):byte(), ('c'):byte(), ('u'):byte()

local NAME = {
  [QUEUED] = 'queued', [WAITING] = 'queued', [ALONE] = 'queued',
  [SENDING] = 'sending', [IN_DOUBT] = 'in_doubt',
  [ACCEPTED] = 'accepted', [REJECTED] = 'rejected', [EXHAUSTED] = 'exhausted',
  [EXPIRED] = 'expired', [CANCELLED] = 'cancelled', [UNRESOLVED] = 'unresolved',
}
local FINISHED = {
  [ACCEPTED] = true, [REJECTED] = true, [EXHAUSTED] = true,
  [EXPIRED] = true, [CANCELLED] = true, [UNRESOLVED] = true,
}
-- Dead letters: finished without being accepted, and nobody wanted it so. They can be retried by hand.
local DEAD = { [REJECTED] = true, [EXHAUSTED] = true, [EXPIRED] = true, [UNRESOLVED] = true }
local FINISHED_NAMES = { 'accepted', 'rejected', 'exhausted', 'expired', 'cancelled', 'unresolved' }

local function is_claimable(state) return state == QUEUED or state == ALONE end
local function is_queued(state) return state == QUEUED or state == ALONE or state == WAITING end

-- A record: attempts used (1 byte), last change (4 bytes, seconds), receipt (22 bytes, zeros while there is none).
local RECORD, RECEIPT = 27, 22
local NO_RECEIPT = string.rep('\0', RECEIPT)
