// SPDX-License-Identifier: AGPL-3.0-or-later
/** The settings of one account, the same on all its devices; changed here or elsewhere. */

import { call, listen } from "../base/api.js";
import { useEffect, useState } from "../base/html.js";
import { useRequest } from "../controls/controls.js";

/**
 * @param {string} account
 * @returns {{values: Record<string, any> | null, set: (name: string, value: any) => Promise<any>, busy: boolean, problem: any}} null: not known yet
 */
export function useSettings(account) {
  const [values, setValues] = useState(/** @type {Record<string, any> | null} */ (null));
  const { busy, problem, run } = useRequest();
  useEffect(() => {
    let over = false;
    call("settings.list", { account }).then((found) => over || setValues(found.values), () => {});
    const stop = listen(({ account: of, type, data }) => {
      if (of === account && type === "setting") setValues((now) => now && { ...now, [data.name]: data.value });
    });
    return () => {
      over = true;
      stop();
    };
  }, [account]);
  const set = (name, value) =>
    run(async () => {
      const put = (one) => setValues((now) => now && { ...now, [name]: one }); // others may be on their way
      const before = values?.[name];
      put(value); // at once: a choice that springs back confuses
      try {
        put((await call("settings.set", { account, name, value })).values[name]);
      } catch (error) {
        put(before);
        throw error;
      }
    });
  return { values, set, busy, problem };
}
