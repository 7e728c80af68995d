-- What an approval may have beside, as JSON: its preview, and the group that is asked next.
ALTER TABLE approvals ADD COLUMN details TEXT;
